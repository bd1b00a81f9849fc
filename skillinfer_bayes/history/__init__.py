"""History tables: validated scores, the scales they live on, how well each was measured."""

"""An MCP server: profiles, rankings and prompts as tools for a language model.

Needs the official SDK, which comes with the extra `mcp` and is imported when a server is made.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillinfer_bayes.exceptions import MissingDependencyError

if TYPE_CHECKING:
    from mcp.server import MCPServer

__all__ = ["build_server", "serve"]


def build_server(folder: str | Path) -> MCPServer[Any]:
    """Make a server whose tools read and write files in one folder only.

    Parameters
    ----------
    folder : str or Path
        Where populations are read from and profiles are saved to.

    Returns
    -------
    mcp.server.MCPServer
        It keeps its populations and profiles until it ends.

    Raises
    ------
    InputError
        If `folder` is not a folder.
    MissingDependencyError
        If the package `mcp` is not installed.
    """
    try:
        tools = importlib.import_module("skillinfer_bayes.mcp_server.tools")
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types", "pydantic"):
            raise
        raise MissingDependencyError(
            "the MCP server must have the package 'mcp', got an import error; "
            "install it with: pip install 'skillinfer-bayes[mcp]'"
        ) from error
    server: MCPServer[Any] = tools.make_server(folder)
    return server


def serve(folder: str | Path) -> None:
    """Serve on standard input and output until the client hangs up; see `build_server`."""
    build_server(folder).run("stdio")

"""The frozen graph of a computation: to query, to draw, to export, to sum up."""

from .diff import GraphDiff
from .gradients import GraphGradients
from .graph import Graph
from .parts import ArraySpec, Edge, GraphNode
from .recording import record
from .render import RenderError
from .statistics import Statistics
from .take import graph

__all__ = [
    "ArraySpec",
    "Edge",
    "Graph",
    "GraphDiff",
    "GraphGradients",
    "GraphNode",
    "RenderError",
    "Statistics",
    "graph",
    "record",
]

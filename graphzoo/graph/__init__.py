"""The frozen graph of a computation: to query, to draw, to export, to sum up."""

from .build import graph
from .gradients import GraphGradients, Statistics
from .graph import ArraySpec, Edge, Graph, GraphNode
from .render import RenderError

__all__ = ["ArraySpec", "Edge", "Graph", "GraphGradients", "GraphNode", "RenderError", "Statistics", "graph"]

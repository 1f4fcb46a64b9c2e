"""Resources, latency and interval of an hls4ml design before any vendor tool is started (model: docs/estimates.md)."""

from .description import DesignDescription, Fifo, GroupedWeights, LayerDescription, WeightStatistics
from .estimate_types import Figure, FpgaEstimate, LayerEstimate, Stage
from .model import estimate
from .precision import Precision, parse_precision
from .reuse import legal_reuse_factors, nearest_reuse_factor, serial_filters, serial_lanes
from .table import TableResult, TableRow, predict_rows, predict_table, write_table

__all__ = [
    "DesignDescription",
    "Fifo",
    "Figure",
    "FpgaEstimate",
    "GroupedWeights",
    "LayerDescription",
    "LayerEstimate",
    "Precision",
    "Stage",
    "TableResult",
    "TableRow",
    "WeightStatistics",
    "estimate",
    "legal_reuse_factors",
    "nearest_reuse_factor",
    "parse_precision",
    "predict_rows",
    "predict_table",
    "serial_filters",
    "serial_lanes",
    "write_table",
]

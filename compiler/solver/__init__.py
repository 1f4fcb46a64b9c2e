"""One choice for the whole network: how every layer is stored, so that it fits the board at the least loss."""

from .forms import FORMS, PLAIN, Form
from .search import Budgeted, compress_to_fit, trade_off
from .table import FormTable, make_table

__all__ = ["FORMS", "PLAIN", "Budgeted", "Form", "FormTable", "compress_to_fit", "make_table", "trade_off"]

"""The result of an estimate: totals, layers, ways to save."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ..resources import Resources, Shortage


@dataclass(frozen=True, slots=True)
class LayerEstimate:
    """What one node costs.

    Attributes:
        node: name of the node as the ONNX file spells it (`node.source.node`), for messages.
        op: IR operator.
        resources: this node's share. Shares of `ram` overlap in time, so their sum is not the total.
        interval: cycles between two inferences this node can accept (FPGA); its cycles on a microcontroller.
        choice: the decision taken for it in words, such as 'resource, reuse 16' or 'conv2d dsp 1x1'.
        layer: name of the layer in an hls4ml project; '' elsewhere.
        hls: what the HLS report will say about it, see `Estimate.predictions`.
    """

    node: str
    op: str
    resources: Resources
    interval: int = 0
    choice: str = ""
    layer: str = ""
    hls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Saving:
    """A change the user can make, and what the whole design would need after it.

    Attributes:
        change: what to do, as an imperative with the option or board to give: 'give --reuse-factor 8'.
        total: resources of the design after the change.
    """

    change: str
    total: Resources


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a graph costs on a board.

    Attributes:
        board: name of the board.
        budget: what the board has.
        total: what the design needs; `cycles` is the latency of one inference.
        layers: shares of the nodes, in graph order.
        interval: cycles between the starts of two inferences (II).
        clock_mhz: clock the cycles are counted in.
        bands: (low, high) around each amount that is not exact by construction, such as {"lut": (900, 2100)};
            the true amount lies inside in four cases of five.
        savings: changes that would reduce the need, any order.
        predictions: (FPGA) stage of the vendor's flow ('hls', 'synthesis') -> resource, 'cycles' or 'interval' ->
            (amount, low, high): what its report will say.
        notes: what the reader should know about how the design was chosen, in whole sentences.
        details: parts of the totals that can be measured on their own, such as {"arena": 8972, "stack": 228}.
    """

    board: str
    budget: Resources
    total: Resources
    layers: tuple[LayerEstimate, ...]
    interval: int
    clock_mhz: float
    bands: dict[str, tuple[int, int]] = field(default_factory=dict)
    savings: tuple[Saving, ...] = ()
    details: Mapping[str, int] = field(default_factory=dict)
    predictions: Mapping[str, Mapping[str, tuple[int, int, int]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def latency_seconds(self) -> float:
        """Time of one inference."""
        return self.total.cycles / (self.clock_mhz * 1e6)

    @property
    def shortages(self) -> tuple[Shortage, ...]:
        """Resources the board has too little of; empty if the design fits."""
        return self.total.over(self.budget)

    def share(self, nodes: Collection[str]) -> Resources:
        """What the named nodes need together (names as in the ONNX file)."""
        found = Resources()
        for layer in self.layers:
            if layer.node in nodes:
                found = found + layer.resources
        return found

    @property
    def fits(self) -> bool:
        """Whether the design fits the board."""
        return not self.shortages

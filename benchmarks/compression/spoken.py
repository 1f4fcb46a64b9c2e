"""More inputs for keyword spotting than there are: variations of MFCC series, made in the log-mel domain.

The corpus has 600 inputs of kws01 (49 frames of 10 MFCCs). Ten coefficients are turned back into a smooth log-mel
spectrum, where what happens to speech can be imitated: another pace, another vocal tract (frequencies stretched),
another loudness, a second speaker or noise behind it, another microphone (a fixed tilt of the spectrum). No label is
used.
"""

from __future__ import annotations

import numpy as np

MEL_BANDS = 40
CHUNK = 500
FAR_BELOW = -50.0
"""Log power of what is not there."""


def mel_basis(coefficients: int) -> np.ndarray:
    """(coefficients, bands): MFCCs of a log-mel spectrum, scaled as TensorFlow's `mfccs_from_log_mel_spectrograms`."""
    band = (np.arange(MEL_BANDS) + 0.5) * np.pi / MEL_BANDS
    basis: np.ndarray = np.sqrt(2.0 / MEL_BANDS) * np.cos(np.arange(coefficients)[:, None] * band)
    return basis


def log_mel(mfccs: np.ndarray) -> np.ndarray:
    """Smooth log-mel spectra (..., bands) of MFCCs (..., coefficients): the inverse transform, higher ones zero."""
    basis = mel_basis(mfccs.shape[-1])
    halves = np.ones(len(basis))
    halves[0] = 0.5
    return (mfccs * halves) @ basis


def spoken_variations(inputs: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Variations (count, 1, frames, coefficients, 1) of inputs of that shape, float32."""
    mfccs = inputs[:, 0, :, :, 0].astype(np.float64)
    spectra, basis = log_mel(mfccs), mel_basis(mfccs.shape[-1])
    parts = []
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        mixed = _second_speaker(spectra, size, random)
        mixed = _noise(mixed, random)
        mixed += random.normal(0.0, 0.3, (size, 1, 4)) @ _cosines(4)
        parts.append((mixed @ basis.T).astype(np.float32))
    return np.concatenate(parts)[:, None, :, :, None]


def _second_speaker(spectra: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """Varied utterances; behind half of them a quieter or equally loud other one."""
    level = np.where(random.random(size) < 0.5, random.uniform(-4.0, 0.5, size), FAR_BELOW)
    mixed: np.ndarray = np.logaddexp(
        _varied(spectra, size, random), _varied(spectra, size, random) + level[:, None, None]
    )
    return mixed


def _varied(spectra: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """Utterances moved by up to 6 frames, 15 % faster or slower, frequencies stretched by 10 %, louder or quieter."""
    frames, bands = spectra.shape[1:]
    pace = 1.0 + random.uniform(-0.15, 0.15, (size, 1))
    moments = (np.arange(frames) - frames / 2) * pace + frames / 2 + random.uniform(-6.0, 6.0, (size, 1))
    chosen = _between(spectra[random.integers(0, len(spectra), size)], moments)
    tract = 1.0 + random.uniform(-0.1, 0.1, (size, 1))
    places = (np.arange(bands) + 0.5) * tract - 0.5
    stretched = _between(chosen.transpose(0, 2, 1), places).transpose(0, 2, 1)
    loudness: np.ndarray = stretched + random.normal(0.0, 0.5, (size, 1, 1))
    return loudness


def _between(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values (B, n, ...) at real places (B, m) of the middle axis, linear between neighbours."""
    places = np.clip(places, 0.0, values.shape[1] - 1)
    low = np.minimum(places.astype(np.int64), values.shape[1] - 2)
    share = (places - low)[..., None]
    rows = np.arange(len(values))[:, None]
    found: np.ndarray = values[rows, low] * (1.0 - share) + values[rows, low + 1] * share
    return found


def _noise(spectra: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Stationary noise of some colour behind half of the utterances, up to the loudness of their middle."""
    size = len(spectra)
    colour = 0.7 * random.normal(0.0, 1.0, (size, 1, 3)) @ _cosines(3)
    floor = np.median(spectra, axis=(1, 2), keepdims=True) + random.uniform(-4.0, 0.5, (size, 1, 1)) + colour
    floor = np.where(random.random((size, 1, 1)) < 0.5, floor, FAR_BELOW)
    noisy: np.ndarray = np.logaddexp(spectra, floor + random.normal(0.0, 0.3, spectra.shape))
    return noisy


def _cosines(count: int) -> np.ndarray:
    """(count, bands): slow changes over frequency."""
    found: np.ndarray = np.cos(np.pi * np.arange(count)[:, None] * (np.arange(MEL_BANDS) + 0.5) / MEL_BANDS)
    return found

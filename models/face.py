"""Faces in a picture by OpenCV's cascade of Haar features (Viola and Jones, 2001; Lienhart, 2002).

It finds upright frontal faces only: about a third of the photos of smiling or posing people, three
quarters of close frontal faces, and a false face in one of a hundred photos without people.
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from cv2 import data as cv2_data

from models.base import Face, ModelError, Pixels

_CASCADE = "haarcascade_frontalface_alt2.xml"
_LONGEST_SIDE = 640
_SMALLEST_FACE = 24
"""Pixels after scaling."""
_SCALE_STEP = 1.1
_NEIGHBOURS = 5
_EVEN = 55.5
"""The weight of the cascade's last stage that means 0.5: logistic regression on the detections in
202 photos without people (9, with fewer neighbours asked for) and on 228 cropped faces."""
_SLOPE = 5.0


class FaceDetector:
    """Faces with a confidence, largest first."""

    def __init__(self) -> None:
        path = Path(cv2_data.haarcascades) / _CASCADE
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise ModelError(f"OpenCV has no {path}: install opencv-python-headless below 5.0")

    def detect(self, image: Pixels) -> tuple[Face, ...]:
        """Faces in a uint8 RGB picture [height, width, 3] of any size."""
        grey = _shrink(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8))
        boxes, _, weights = self._cascade.detectMultiScale3(
            grey,
            scaleFactor=_SCALE_STEP,
            minNeighbors=_NEIGHBOURS,
            minSize=(_SMALLEST_FACE, _SMALLEST_FACE),
            outputRejectLevels=True,
        )
        height, width = grey.shape
        faces = [
            Face(
                x=float(x / width),
                y=float(y / height),
                width=float(w / width),
                height=float(h / height),
                confidence=confidence(float(weight)),
            )
            for (x, y, w, h), weight in zip(boxes, weights, strict=True)
        ]
        return tuple(sorted(faces, key=lambda face: -face.width * face.height))


def confidence(weight: float) -> float:
    """The weight of the cascade's last stage (54 to 58 for what passes it) in 0..1, logistic.

    An order of detections, not a calibrated probability: false faces were too few for that.
    """
    return 1 / (1 + math.exp(-_SLOPE * (weight - _EVEN)))


def _shrink(grey: Pixels) -> Pixels:
    scale = _LONGEST_SIDE / max(grey.shape)
    if scale >= 1:
        return grey
    smaller = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, dtype=np.uint8)

"""TorchServe's way into a trueup bundle; packed into the model archive.

What lives here: one class (TorchServe takes the only one of the module), moving values between TorchServe, the
programs and the capture. What must not: decisions; those are in `serving`, which the worker's interpreter must have.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from ts.torch_handler.base_handler import BaseHandler

from monitor.errors import DefectError, RecordError
from serving.answers import answer_json, answers
from serving.capture import Capture
from serving.capture_config import KEY_VARIABLE, PACKED_NAME, from_environment
from serving.image_decoding import ImageTooLargeError, decode_image
from serving.image_features import image_features
from serving.manifest import check_files, read_manifest
from serving.record_batches import RecordShape
from serving.torchserve.metrics import capture_observer
from serving.torchserve.request_items import PREDICTION_ID_HEADER, SERVER_ERROR, Item, Request, read_request

_log = logging.getLogger(__name__)

# A request may carry many images; the model sees so many at a time, which bounds its memory.
_IMAGES_AT_ONCE = 64
_TOO_LARGE = 413
_END_SECONDS = 5.0


class TrueupHandler(BaseHandler):
    """Answers images with class and probabilities, or a value, and logs every answer (see `serving.capture`)."""

    def initialize(self, context: Any) -> None:
        """Load the two programs of the bundle in the model folder and prepare the log."""
        super().initialize(context)
        self.model.eval()
        folder = Path(context.system_properties["model_dir"])
        self.served = read_manifest(folder)
        check_files(folder, self.served, (self.served.preprocess_program, self.served.model_program))
        self.preprocess_program = self._load_torchscript_model(str(folder / self.served.preprocess_program))
        self.preprocess_program.eval()
        self._open_capture(folder / PACKED_NAME, context.metrics)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answer one batch of requests; a bad image gets an error of its own and harms no other.

        BaseHandler's own `handle` lets a client's header switch the worker to explanations, so it is not used.
        """
        started = time.perf_counter()
        self.context = context
        requests = [self._read(index, parameters) for index, parameters in enumerate(data)]
        prepared = self.preprocess([item for request in requests for item in request.items])
        outputs, embeddings = self.inference([image for _, image, _ in prepared])
        finished = datetime.now(UTC)
        for (item, _, features), answer, embedding in zip(
            prepared, answers(self.served, outputs), embeddings, strict=True
        ):
            if isinstance(answer, DefectError):
                item.refuse(answer, SERVER_ERROR)
                continue
            item.answer = answer_json(self.served, answer, str(item.prediction_id), finished)
            if self.capture is not None:
                self.capture.record(
                    str(item.prediction_id),
                    answer.prediction,
                    event_time=finished,
                    probabilities=answer.probabilities,
                    features=features,
                    segments=item.segments,
                    embedding=embedding,
                    latency_seconds=time.perf_counter() - started,
                    request_id=item.request_id,
                )
        return self.postprocess(requests)

    def preprocess(self, data: Sequence[Item]) -> list[tuple[Item, torch.Tensor, dict[str, float]]]:
        """Each image that can be decoded with its input [3, S, S] and its features; the others are refused."""
        prepared = []
        for item in data:
            if item.fault is not None:
                continue
            try:
                pixels = decode_image(item.content, str(item.prediction_id))
                prepared.append((item, self._input(pixels), image_features(pixels)))
            except ImageTooLargeError as error:
                item.refuse(error, _TOO_LARGE)
            except RecordError as error:
                item.refuse(error)
            except DefectError as error:
                item.refuse(error, SERVER_ERROR)
        return prepared

    def inference(self, data: Sequence[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Outputs [N, K] and embeddings [N, D] of inputs [3, S, S]."""
        if not data:
            classes = len(self.served.schema.classes) or 1
            return np.empty((0, classes), np.float32), np.empty((0, self.served.embedding_dimension), np.float32)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(data), _IMAGES_AT_ONCE):
                images = torch.stack(list(data[start : start + _IMAGES_AT_ONCE])).to(self.device)
                parts.append([result.float().cpu().numpy() for result in self.model(images)])
        outputs, embeddings = zip(*parts, strict=True)
        return np.concatenate(outputs), np.concatenate(embeddings)

    def postprocess(self, data: Sequence[Request]) -> list[bytes]:
        """The JSON body of each request's response; status and headers go through the context."""
        for index, request in enumerate(data):
            self.context.set_response_status(request.status, "", index)
            self.context.set_response_content_type(index, "application/json")
            if not request.is_list and request.items[0].prediction_id is not None:
                self.context.set_response_header(index, PREDICTION_ID_HEADER, request.items[0].prediction_id)
        return [request.response() for request in data]

    def _read(self, index: int, parameters: Mapping[str, Any]) -> Request:
        headers = self.context.get_all_request_header(index)
        return read_request(parameters, headers, self.segment_headers, self.context.get_request_id(index))

    def _input(self, pixels: np.ndarray) -> torch.Tensor:
        try:
            with torch.inference_mode():
                return self.preprocess_program(torch.from_numpy(pixels).to(self.device))
        except RuntimeError as error:
            raise DefectError(
                "the preprocess program failed on this image",
                where=f"model {self.served.name!r} version {self.served.version!r}",
                got=f"image {list(pixels.shape)}",
            ) from error

    def _open_capture(self, packed: Path, metrics: Any) -> None:
        config = from_environment(packed, os.environ)
        self.segment_headers = config.segments
        self.capture: Capture | None = None
        settings = config.settings(os.environ.get(KEY_VARIABLE))
        if settings is None:
            _log.info("capture.off model=%s reason='no spool is set'", self.served.name)
            return
        served = self.served
        features = {name: pa.float64() for name in served.features}
        shape = RecordShape(served.schema, served.version, features, tuple(config.segments), served.embedding_dimension)
        self.capture = Capture(settings, shape, observe=capture_observer(metrics, served.name, served.version))
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._end)
        _log.info("capture.on model=%s version=%s spool=%s", served.name, served.version, settings.spool)

    def _end(self, *_: object) -> None:
        # Before anything is torn down: TorchServe kills a worker outright as soon as its connection closes.
        if self.capture is not None:
            self.capture.close(_END_SECONDS)
        sys.exit(0)

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        with warnings.catch_warnings():
            # TorchScript is deprecated, and is what TorchServe runs.
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.load")
            return super()._load_torchscript_model(model_pt_path)

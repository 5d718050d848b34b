"""Writing a film: MP4 (H.264, for browsers and players) or GIF (small, for README pages).

ffmpeg comes with the extra `video`, in a wheel of its own. What trains on VMs never imports this.
"""

from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from worker.contract.errors import InputError
from worker.training.play import Frame

_GIF_WIDTH: Final = 320
_GIF_FILTER: Final = (
    f"fps=20,scale='min({_GIF_WIDTH},iw)':-2:flags=lanczos,split[a][b];[a]palettegen=stats_mode=diff[p];"
    "[b][p]paletteuse=dither=bayer:bayer_scale=4:diff_mode=rectangle"
)
_FORMATS: Final[dict[str, dict[str, Any]]] = {
    # Even sides are all that H.264 needs; rounding to 16, the default, would scale a lander's 600 × 400 frames.
    ".mp4": {
        "macro_block_size": 2,
        "output_params": ["-crf", "28", "-preset", "medium", "-movflags", "+faststart"],
    },
    ".gif": {
        "codec": "gif",
        "pix_fmt_out": "pal8",
        "macro_block_size": 1,
        "output_params": ["-filter_complex", _GIF_FILTER, "-loop", "0"],
    },
}


def check_name(path: Path) -> None:
    """Raise InputError where a film of this name cannot be written: the ending names the format."""
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path} is neither an .mp4 nor a .gif: the ending names the format.")


class Film:
    """A film under way; the file is there whole when the block ends well, and not at all otherwise."""

    def __init__(self, path: Path) -> None:
        """Prepare to write `path`.

        Raises InputError where its ending is unknown, its folder cannot be made, or the extra is missing.
        """
        check_name(path)
        try:
            import imageio_ffmpeg
        except ImportError as error:
            raise InputError("Films need ffmpeg's wheel: pip install 'tranquility[video]'.") from error
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}.") from error
        self._write_frames = imageio_ffmpeg.write_frames
        self._path = path
        self._partial = path.with_name(f".{path.stem}.partial{path.suffix.lower()}")
        self._frames: Generator[None, Any, None] | None = None

    def add(self, frame: Frame, frames_per_second: float) -> None:
        """Add a frame; all have the size of the first. Raises InputError where the place cannot be written."""
        if self._frames is None:
            self._frames = self._open(frame, frames_per_second)
        self._send(np.ascontiguousarray(frame))

    def _open(self, frame: Frame, frames_per_second: float) -> Generator[None, Any, None]:
        height, width, _ = frame.shape
        form = _FORMATS[self._partial.suffix]
        frames: Generator[None, Any, None] = self._write_frames(
            self._partial, (width, height), fps=frames_per_second, quality=None, ffmpeg_log_level="error", **form
        )
        frames.send(None)
        return frames

    def _send(self, frame: Frame) -> None:
        try:
            if self._frames is not None:
                self._frames.send(frame)
        except OSError as error:  # ffmpeg has ended: the place cannot be written, or the disk is full
            raise InputError(f"{self._path} cannot be written: ffmpeg gave up.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._frames is not None:
            self._frames.close()
        if kind is None and self._partial.exists():
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)
            if kind is None:
                raise InputError(f"{self._path} cannot be written: no frame came out of ffmpeg.")

"""Read a file of torch.save without reading its tensors.

torch.load with mmap=True maps a file so that it could be written to, and the kernel refuses that of a file larger than
the machine's memory. Here it is mapped to be read only, whatever its size.
"""

from __future__ import annotations

import ctypes
import functools
import io
import mmap
import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {"ByteStorage": torch.uint8, "FloatStorage": torch.float32, "LongStorage": torch.int64}
LOCAL_HEADER = 30  # bytes of it before the name; the lengths of name and extra field are the last four


def read_mapped(path: Path) -> dict[str, Any]:
    """Return the dict of tensors that torch.save wrote; only those called x_... stay in the file.

    Others may be written to. Where it is no such file, raises OSError, ValueError, zipfile.BadZipFile, LookupError or
    pickle.UnpicklingError.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        unpickler = _Unpickler(archive.read(pickled), archive, pickled.removesuffix("data.pkl"), mapped)
        content: dict[str, Any] = unpickler.load()
    return {
        key: value.clone() if isinstance(value, Tensor) and not key.startswith("x_") else value
        for key, value in content.items()
    }


def read_scattered(x: Tensor) -> None:
    """Tell the kernel not to read what lies around the rows of a mapped tensor that are asked for."""
    _advise(x.data_ptr(), x.nbytes, mmap.MADV_RANDOM)


def read_soon(x: Tensor, rows: list[int]) -> None:
    """Have the kernel read rows of a mapped tensor from the disk while this process goes on."""
    first, size = x.data_ptr(), x[0].nbytes
    for row in rows:
        _advise(first + row * size, size, mmap.MADV_WILLNEED)


def _advise(address: int, size: int, advice: int) -> None:
    """A kernel that does not follow it loses time only."""
    start = address - address % mmap.PAGESIZE
    _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(address + size - start), advice)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


class _Unpickler(pickle.Unpickler):
    """Makes tensors that lie in the mapped file, and nothing else than tensors, text, lists and dicts."""

    def __init__(self, pickled: bytes, archive: zipfile.ZipFile, folder: str, mapped: mmap.mmap) -> None:
        super().__init__(io.BytesIO(pickled))
        self.archive, self.folder, self.mapped = archive, folder, mapped

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> tuple[torch.dtype, int, int]:
        """Return type, place in the file and length of a storage."""
        _, dtype, key, _, n = pid
        info = self.archive.getinfo(f"{self.folder}data/{key}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != n * dtype.itemsize:
            raise pickle.UnpicklingError(f"{info.filename} is not as torch writes it")
        lengths = self.mapped[info.header_offset + LOCAL_HEADER - 4 : info.header_offset + LOCAL_HEADER]
        name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
        return dtype, info.header_offset + LOCAL_HEADER + name + extra, n

    def _tensor(
        self, storage: tuple[torch.dtype, int, int], first: int, shape: Any, stride: Any, *others: Any
    ) -> Tensor:
        dtype, place, n = storage
        if not n:
            return torch.empty(shape, dtype=dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            whole = torch.frombuffer(self.mapped, dtype=dtype, count=n, offset=place)
        return whole.as_strided(shape, stride, first)

"""Folders of image files, one per class. image_files.py reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlsweep.config.identity import Setting
from dlsweep.config.metrics import SPLITS
from dlsweep.config.names import nearest
from dlsweep.errors import ConfigError
from dlsweep.tasks.classification.image_files import FileImage, Place, read_all
from dlsweep.tasks.classification.source_files import Content, data_path, listed

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def load_image_folder(name: str, setting: Setting, raw_folder: Path, place: Place) -> Content:
    """Return the images of a folder with a folder per class, or with train/ and val/ or test/ that have those.

    Images are turned as their EXIF data says, and resized, not cropped, to `image_size` x `image_size`: one channel
    where all are grey, else three. They are uint8, but float32 where 8 bits would lose what grey images of more bits
    show. Hidden files and folders and those that are no images are passed over.
    """
    root = data_path(setting)
    folders = _folders(root)
    splits = [split for split in SPLITS if split in folders] if "train" in folders else []
    if splits and len(splits) != len(folders):
        other = next(folder for folder in folders if folder not in splits)
        raise ConfigError(f"{root / other}: beside train only val and test are allowed.{nearest(other, SPLITS)}")
    classes = _folders(root / "train" if splits else root)
    if not classes:
        raise ConfigError(f"{root}: has no folders; it needs one per class")
    content: Content = {}
    files: dict[str, list[Path]] = {}
    for split in splits or ["train"]:
        folder = root / split if splits else root
        for other in _folders(folder):
            if other not in classes:
                raise ConfigError(f"{folder / other}: is not a class of {root / 'train'}.{nearest(other, classes)}")
        images = [(path, label) for label, name in enumerate(classes) for path in _image_files(folder / name)]
        if not images:
            raise ConfigError(f"{folder}: has no images")
        files[split] = [path for path, _ in images]
        content[f"y_{split}"] = torch.tensor([label for _, label in images])
    pixels = _read_images(files, setting["image_size"], place)
    return {**content, **{f"x_{split}": torch.from_numpy(x) for split, x in pixels.items()}, "classes": classes}


def _folders(folder: Path) -> list[str]:
    """The names of the visible folders in a folder, sorted."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from None


def _image_files(folder: Path) -> list[Path]:
    """The images in the folder of a class, sorted; a class may be missing in val and test, but not be empty."""
    if not folder.exists():
        return []
    images = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not images:
        raise ConfigError(f"{folder}: has no images; allowed are {listed(IMAGE_SUFFIXES)}")
    return images


HALF = 2**15  # what uses 16 bits reaches further; what does not has fewer bits, or a range of its own
FEW_LEVELS = 16  # what is left of an image's grey values when it is cut down to 8 bits


def _read_images(files: Mapping[str, list[Path]], size: int, place: Place) -> dict[str, np.ndarray]:
    """Return the images of each split, (N, C, size, size): uint8, or float32 where that is needed."""
    mapped, images = read_all(files, size, place, _read_image)
    pixels: dict[str, np.ndarray] = dict(mapped)
    found = dict(zip((path for paths in files.values() for path in paths), images, strict=True))
    deep = {path: image for path, image in found.items() if image.mode[0] in "IF"}  # of more than 8 bits of grey
    colours = {path: image for path, image in found.items() if image.cut}  # of 16 bits a channel
    is_grey = all(image.is_grey for image in images)
    usual = next((path for path in found if path not in deep), None)  # the first of 8 bits
    several = [path for path, image in found.items() if image.has_more]
    if several:
        print(f"warning: of {len(several)} files with several images only the first is used: {several[0]}, ...")
    if colours and max(image.high for image in colours.values()) < 128:
        raise ConfigError(
            f"{next(iter(colours))}: is a colour image of 16 bits a channel, of which the upper 8 can be read, and its"
            " content is in the lower ones; save the images with 8 bits a channel"
        )
    if deep:
        scale = _scale(deep, usual)
        whole = scale == 256 and not any(image.squeezed for image in deep.values())
        for split, paths in files.items():
            x = pixels[split] if whole else pixels[split].astype(np.float32)
            for i in (i for i, path in enumerate(paths) if path in deep):
                x[i] = _read_deep(paths[i], size, scale, whole)
            pixels[split] = x
    return {split: np.ascontiguousarray(x[:, :1]) for split, x in pixels.items()} if is_grey else pixels


def _scale(deep: Mapping[Path, FileImage], usual: Path | None) -> int:
    """Return what the values of deep images are divided by, to be like those of 8 bits, `usual` being one of them.

    256 where they use all of 16 bits. Otherwise nobody knows how bright their values are beside those of another kind.
    """
    low, high = min(image.low for image in deep.values()), max(image.high for image in deep.values())
    kinds = {image.mode[:1]: path for path, image in deep.items()}  # I: integers, F: floating point
    if "F" not in kinds and low >= 0 and HALF <= high < 2 * HALF:
        return 256
    if usual or len(kinds) > 1:
        path, other = next(iter(kinds.values())), usual or list(kinds.values())[1]
        raise ConfigError(
            f"{path}: is {_kind(deep[path])} (values in all such images: {low:g} to {high:g}), but {other} is"
            f" {_kind(deep[other]) if other in deep else 'of 8 bits'}, and nothing says how their values compare; save"
            " all images in one format"
        )
    return 1


def _kind(image: FileImage) -> str:
    return "a floating-point image" if image.mode == "F" else "an image of more than 8 bits"


def _is_squeezed(values: np.ndarray) -> bool:
    """Say whether an image, maybe but for a few bright spots, would lose its grey values when it is cut to 8 bits."""
    few = len(np.unique(values // 256))
    return few < FEW_LEVELS and few < len(np.unique(values))


def _read_deep(path: Path, size: int, scale: int, whole: bool) -> np.ndarray:
    """Return a grey image of more than 8 bits as (size, size), uint8 where `whole`, else float32."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        values = np.asarray(ImageOps.exif_transpose(opened))
    values = (values // scale).astype(np.uint8) if whole else values.astype(np.float32) / scale
    return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.BILINEAR))


def _read_image(path: Path, size: int) -> FileImage:
    """Read one file. Raises ConfigError naming it where it is no image, or shows what cannot be had of it."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            cut = any(";16" in str(part) for part in opened.tile)
            image = ImageOps.exif_transpose(opened)
            mode = image.mode
            if mode[0] in "IF":
                values = np.asarray(image)
                if not np.isfinite(values).all():
                    raise ConfigError(f"{path}: has NaN or infinite pixels")
                pixels, low, high = None, float(values.min()), float(values.max())
                cut, squeezed = False, _is_squeezed(values)
            else:
                colour = image.convert("RGB")
                lows, highs = zip(*colour.getextrema(), strict=True)
                if (
                    image.has_transparency_data
                    and lows == highs
                    and _has_content(image.convert("RGBA").getchannel("A"))
                ):
                    raise ConfigError(
                        f"{path}: shows something only by its transparency, which is not read; put the image on a"
                        " background of another colour"
                    )
                pixels = np.asarray(colour.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
                low, high, squeezed = min(lows), max(highs), False
            has_more = opened.format != "MPO" and getattr(opened, "n_frames", 1) > 1  # MPO: a photo and its preview
            is_grey = mode[0] in "IF" or mode in ("1", "L", "LA")
            return FileImage(pixels, mode, is_grey, low, high, cut, squeezed, has_more)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{path}: is not a readable image ({error})") from None


def read_8_bits(path: Path, size: int, grey: bool) -> np.ndarray:
    """Return one image as it is read for a data set of 8 bits: (1, size, size) where `grey`, else (3, size, size).

    A coloured one becomes grey by its luminance. Raises ConfigError where it is no image, or a grey one that has more
    than 8 bits but does not use 16 of them: nothing says how bright that is.
    """
    from PIL import Image

    image = _read_image(path, size)
    if image.pixels is None:
        if image.mode[0] != "I" or image.low < 0 or not HALF <= image.high < 2 * HALF:
            raise ConfigError(f"{path}: is {_kind(image)} ({image.low:g} to {image.high:g}); save it with 8 bits")
        return np.repeat(_read_deep(path, size, 256, True)[None], 1 if grey else 3, 0)
    if grey and not image.is_grey:
        return np.asarray(Image.fromarray(image.pixels.transpose(1, 2, 0)).convert("L"))[None]
    return image.pixels[:1] if grey else image.pixels


def _has_content(channel: Any) -> bool:
    low, high = channel.getextrema()
    return bool(low < high)

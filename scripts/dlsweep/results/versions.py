"""Which version of the user's own code and data a run was made with, and whether that has changed since.

A setting's hash names neither the source text of an own model nor the content of a data set. A record holds a digest of
each (`provenance.code`, `provenance.data`), so that runs of unlike versions are told apart and are never averaged.
Nothing here imports a module of the user's, or torch.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import io
import json
import os
import shlex
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dlsweep.config.files import own_folders, own_path, snakemake_options
from dlsweep.config.identity import Setting
from dlsweep.config.labels import format_value
from dlsweep.config.modules import source_file
from dlsweep.config.paths import data_file, data_name, init_from, record_name
from dlsweep.config.registry import own_parts
from dlsweep.config.sweep import Sweep
from dlsweep.config.tasks import is_built_in
from dlsweep.errors import RecordError
from dlsweep.files import read_end, read_json, write_json
from dlsweep.results.init_from import weights_digest, weights_file_of
from dlsweep.results.records import list_records

SHORT = 4  # hex digits at least, by which versions are told apart in tables
WHOLE_BYTES = 16 * 2**20  # of a file that a command names; of a larger one not every byte is read at each start
END_BYTES = 2**20
INSTALLED = ("site-packages", "dist-packages")
OWN_FOLDER = Path(__file__).parents[1]  # this package is no code of the user's


class Source(NamedTuple):
    """One thing that a run was made with and that may change: `kind` is code, data, or the weights it started from."""

    kind: str
    name: str  # as the user calls it
    key: str  # by which it is told from the others of its kind

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


Made = dict[Source, tuple[str, ...]]
"""The version of each source of a run: its digest, and after it what older records know it by (the module's sha1)."""
Key = TypeVar("Key", bound=Hashable)


# -- code ----------------------------------------------------------------------------------------------------------


def own_modules(setting: Setting) -> list[str]:
    """Return the modules of the user's that a setting runs: of its function, or of its own parts, each once."""
    if not is_built_in(setting):
        names = [str(setting["train"])] if setting.get("train") else []
    else:
        names = [name for part in own_parts(setting).values() for name in part]
    return list(dict.fromkeys(name.partition(":")[0] for name in names if ":" in name))


def own_sources(settings: Iterable[Setting]) -> list[Path]:
    """Return the files of these modules of settings that are the user's own, each once."""
    modules = dict.fromkeys(module for setting in settings for module in own_modules(setting))
    return [file for module in modules if (file := source_file(module))]


def code_digest(*modules: str) -> str | None:
    """Return 12 hex digits that change with the code of modules, or of what they import of the user's own files.

    Comments and blank lines do not count. None where one of the modules is not there.
    """
    files = own_files(*modules)
    return _digest(files) if modules and files.keys() >= set(modules) else None


def _digest(files: Mapping[str, Path]) -> str:
    sha1 = hashlib.sha1()
    for name in sorted(files):
        code = _content(files[name])
        sha1.update(f"{name} {len(code)}\n".encode() + code)
    return sha1.hexdigest()[:12]


def _content(file: Path) -> bytes:
    """What counts of a file: the code of Python; of a large file, which is data, its size, beginning and end."""
    size = file.stat().st_size
    if size <= WHOLE_BYTES:
        content = file.read_bytes()
        return code_only(content) if file.suffix == ".py" else content
    with file.open("rb") as opened:
        begin = opened.read(END_BYTES)
        opened.seek(-END_BYTES, os.SEEK_END)
        return f"{size}\n".encode() + begin + opened.read()


def own_files(*modules: str) -> dict[str, Path]:
    """Return the files of modules and of all that they import, directly or not, of the user's own, by module name.

    Read from the source text, imports inside functions included. Own is what is neither installed, nor of Python's
    library, nor of this package. A module that is not there, or cannot be parsed, ends the search in that direction.
    """
    return _imported(modules, _roots(), modules)


def _imported(names: Iterable[str], roots: list[Path], always: Collection[str] = ()) -> dict[str, Path]:
    """The own files that modules of these names are in, and what they import; `always` are taken where they are."""
    found: dict[str, Path] = {}
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting += [name.rpartition(".")[0]] if "." in name else []
        file, _ = _find(name, roots)
        if file and (name in always or is_own_file(file)):
            found[name] = file
            waiting += _imports(file, name)
    return found


def command_digest(command: str) -> str | None:
    """Return 12 hex digits that change with the user's own files that a command names; None where it names none.

    Of Python's scripts, and of modules after `-m`, what they import of the user's own files counts too.
    """
    files = command_files(command)
    return _digest(files) if files else None


def command_files(command: str) -> dict[str, Path]:
    """Return the user's own files that the text of a command names, and what its scripts import, by their names."""
    found: dict[str, Path] = {}
    words = _words(command)
    for before, word in zip(["", *words], words, strict=False):
        if before == "-m":
            found |= own_files(word)
        for text in {word, word.partition("=")[2]}:  # --config=small.yaml
            file = Path(text)
            if text and file.is_file() and not _is_of_system(file):
                found[text] = file
                if file.suffix == ".py":
                    found |= _imported(_imports(file, file.stem), [file.parent.absolute(), *_roots()])
    return found


def _words(command: str) -> list[str]:
    """The words of a command as the shell has them, without those that a value stands in."""
    lexer = shlex.shlex(command.replace("{{", "\0").replace("}}", "\1"), posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # a quote that is not closed: the shell refuses it too
        words = command.split()
    return [word.replace("\0", "{").replace("\1", "}") for word in words if "{" not in word]


def _is_of_system(file: Path) -> bool:
    """Say whether a file is a program of the system or of an environment, such as .venv/bin/python."""
    prefixes = (sys.prefix, sys.base_prefix, "/usr", "/bin", "/sbin", "/opt")
    return any(file.resolve().is_relative_to(prefix) for prefix in prefixes)


def _roots() -> list[Path]:
    """Where a run looks for the user's modules, in its order: the working directory comes first."""
    stdlib = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    here, *beside = own_folders()
    folders = (here, OWN_FOLDER.parent, *(Path(path).absolute() for path in sys.path if path), *beside)
    return [path for path in dict.fromkeys(folders) if path not in stdlib and path.is_dir() and not _installed(path)]


def _installed(path: Path) -> bool:
    return any(part in INSTALLED for part in path.parts)


def is_own_file(file: Path) -> bool:
    """Say whether a file is the user's own: neither installed, nor of Python's library, nor of this package."""
    below = (OWN_FOLDER, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")))
    return not _installed(file) and not any(file.is_relative_to(folder) for folder in below)


def _find(name: str, roots: list[Path]) -> tuple[Path | None, list[Path]]:
    """The file of a module, and the folders of its submodules where it is a package."""
    parent, _, last = name.rpartition(".")
    folders = _find(parent, roots)[1] if parent else roots
    for folder in folders:
        if (init := folder / last / "__init__.py").is_file():
            return init, [init.parent]
        for suffix in (*EXTENSION_SUFFIXES, ".py"):
            if (file := folder / f"{last}{suffix}").is_file():
                return file, []
    spaces = [folder / last for folder in folders if (folder / last).is_dir()]
    if parent or spaces or name in sys.stdlib_module_names:
        return None, spaces
    try:
        spec = importlib.util.find_spec(name)  # of the installed ones; it imports nothing, as there is no parent
    except (ImportError, ValueError, AttributeError):
        return None, []
    if spec is None:
        return None, []
    origin = Path(spec.origin or "")
    return (origin if origin.is_file() else None), [Path(path) for path in spec.submodule_search_locations or []]


def _imports(file: Path, name: str) -> Iterator[str]:
    """The names of all modules that a file may import; some are no modules but what a module defines."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's text, which Python says when it is imported
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    is_package = file.name == "__init__.py"
    package = name if is_package else name.rpartition(".")[0]

    def absolute(text: str) -> str | None:
        try:
            return importlib.util.resolve_name(text, package or None)
        except ImportError:  # beyond the top: Python refuses it too
            return None

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute("." * node.level + (node.module or ""))
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__") and node.args:
            text = getattr(node.args[0], "value", None)
            if isinstance(text, str) and text and (base := absolute(text)):
                yield base
        elif is_package and isinstance(node, ast.Assign) and "__all__" in map(_called, node.targets):
            names = getattr(node.value, "elts", [])  # those that are submodules are what `import *` takes
            yield from (f"{name}.{item.value}" for item in names if isinstance(getattr(item, "value", None), str))


def _called(node: ast.AST) -> str:
    return str(getattr(node, "id", getattr(node, "attr", "")))


def code_only(source: bytes) -> bytes:
    """Return Python source without comments, blank lines and white space at the ends of lines; other bytes as they are.

    What is inside of strings stays.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding).replace("\r\n", "\n")
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return source
    lines = text.split("\n")
    inside: set[int] = set()  # lines that end within a string
    for token in tokens:
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column]
        elif token.type not in (tokenize.NEWLINE, tokenize.NL) and token.end[0] > row:
            inside.update(range(row - 1, token.end[0] - 1))
    kept = (line if i in inside else line.rstrip() for i, line in enumerate(lines))
    return "\n".join(line for i, line in enumerate(kept) if line or i in inside).encode()


# -- data ----------------------------------------------------------------------------------------------------------


class Look(NamedTuple):
    """The user's files of a data set as they were at one time: digests of their sizes and times, and of their bytes."""

    stat: str
    sha1: str


def _stamp_file(prepared: Path | str) -> Path:
    return Path(prepared).with_suffix(".json")


def look_at_source(setting: Setting) -> Look | None:
    """Return what the user's own files that data come from are now, every byte read; None where there are none."""
    files = _files(setting)
    stat = _stat(files)
    sha1 = hashlib.sha1()
    for name, file in files.items():
        with file.open("rb") as opened:
            sha1.update(f"{name} ".encode() + hashlib.file_digest(opened, "sha1").digest())
    return Look(stat, sha1.hexdigest()) if files else None


def _files(setting: Setting) -> dict[str, Path]:
    """The user's own files that the data of a setting come from: at `data_path`, or the code that makes them."""
    data_path, dataset = setting.get("data_path"), str(setting.get("dataset", ""))
    if ":" in dataset:
        return own_files(dataset.partition(":")[0])
    path = own_path(data_path or "")
    if data_path and path.is_dir():
        found = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        return {str(file.relative_to(path)): file for file in sorted(found) if file.is_file()}
    return {path.name: path} if data_path and path.is_file() else {}


def _stat(files: Mapping[str, Path]) -> str:
    known = [(name, (stat := file.stat()).st_size, stat.st_mtime_ns) for name, file in files.items()]
    return hashlib.sha1(json.dumps(known).encode()).hexdigest()


def note_prepared(prepared: Path, digest: str, look: Look | None, shape: Sequence[Any] = ()) -> None:
    """Note beside a prepared file its digest, and what of the user's it was made from, `look` (from before).

    `shape` is that of its data, for `noted_shape`.
    """
    stamp = _read_stamp(prepared) or {}
    prepared_from = {**stamp.get("prepared_from", {}), **({look.sha1: digest} if look else {})}
    write_json(
        _stamp_file(prepared), {"digest": digest, "prepared_from": prepared_from, "look": look, "shape": list(shape)}
    )


def noted_shape(prepared: Path) -> tuple[int, list[int], int] | None:
    """Return how many images were prepared, the shape of one, and the outputs that a model has for them, if known."""
    n, in_shape, n_outputs = (_read_stamp(prepared) or {}).get("shape") or (0, [], 0)
    return (n, in_shape, n_outputs) if n else None


def _read_stamp(prepared: Path | str) -> dict[str, Any] | None:
    try:
        stamp = read_json(_stamp_file(prepared))
        return stamp if isinstance(stamp.get("digest"), str) else None
    except (RecordError, AttributeError):
        return None


def data_now(prepared: Path | str, setting: Setting, note: bool = False) -> str | None:
    """Return the digest that the data have now; None where it is not known.

    The user's files are read only where their sizes or times have changed since they were last looked at (`note`
    makes this look the last one). What was never prepared has a digest that no prepared data have.
    """
    stamp = _read_stamp(prepared)
    if stamp is None:
        return None
    if not (files := _files(setting)):
        return str(stamp["digest"])
    look = Look(*stamp["look"]) if stamp.get("look") else None
    if look is None or look.stat != _stat(files):
        look = look_at_source(setting)
        assert look is not None
        if note:
            write_json(_stamp_file(prepared), {**stamp, "look": look})
    known: str | None = stamp["prepared_from"].get(look.sha1)
    return known or f"never prepared {look.sha1}"


def is_prepared(prepared: Path | str, setting: Setting) -> bool:
    """Say whether a prepared file is that of the user's files as they are now, as far as is known."""
    stamp = _read_stamp(prepared)
    return stamp is None or data_now(prepared, setting) == stamp["digest"]


# -- runs ----------------------------------------------------------------------------------------------------------


def sources_of(setting: Setting) -> list[Source]:
    """Return what a run of a setting is made with, besides the setting."""
    modules = own_modules(setting)
    code = [Source("code", ", ".join(modules), "+".join(modules))] if modules else []
    if command := setting.get("command"):
        return [Source("code", _script_name(command), command)]
    if not is_built_in(setting):
        return code
    value = init_from(setting)
    weights = [Source("weights", f"init_from {format_value(value)}", value)] if value else []
    return [*code, Source("data", str(setting.get("data_path") or setting["dataset"]), data_name(setting)), *weights]


@functools.cache
def _script_name(command: str) -> str:
    """What a command is called in a message: its script, say."""
    return next((word for word in _words(command) if Path(word).suffix), "the command")


def made_with(record: Mapping[str, Any], setting: Setting) -> Made:
    """Return the versions that a record names; it needs no more of it than `model` and `provenance`."""
    provenance, model = record.get("provenance", {}), record.get("model", {})
    known = {
        "code": (provenance.get("code"), model.get("source_sha1")),
        "data": (provenance.get("data"),),
        "weights": (provenance.get("init_from"),),
    }
    found = {source: tuple(version for version in known[source.kind] if version) for source in sources_of(setting)}
    return {source: versions for source, versions in found.items() if versions}


class Present:
    """The user's code and data as they are now, each looked at once."""

    def __init__(self, results: Path, note: bool = False) -> None:
        self.results, self.note = results, note
        self._known: dict[Source, tuple[str, ...]] = {}

    def versions(self, setting: Setting) -> Made:
        """Return the versions that a run of a setting would be made with now, as far as they are known."""
        for source in (found := sources_of(setting)):
            if source not in self._known:
                self._known[source] = self._look(source, setting)
        return {source: self._known[source] for source in found if self._known[source]}

    def _look(self, source: Source, setting: Setting) -> tuple[str, ...]:
        if source.kind == "code" and setting.get("command"):
            digest = command_digest(setting["command"])
            return (digest,) if digest else ()
        if source.kind == "code":
            modules = source.key.split("+")
            digest, file = code_digest(*modules), _find(modules[0], _roots())[0]
            return (digest, hashlib.sha1(file.read_bytes()).hexdigest()) if digest and file else ()
        if source.kind == "weights":  # those that are gone have not changed
            path = weights_file_of(self.results, source.key)
            digest = weights_digest(path) if path else None
            return (digest,) if digest else ()
        digest = data_now(data_file(str(self.results), setting), setting, self.note)
        return (digest,) if digest else ()

    def changed(self, setting: Setting, made: Made) -> list[Source]:
        """Return the sources that are known to have changed since a run."""
        return [
            source
            for source, versions in self.versions(setting).items()
            if source in made and made[source][0] not in versions
        ]


@dataclass(frozen=True)
class Outdated:
    """The finished runs of a sweep whose code or data have changed since, each with what has; and how many finished."""

    runs: dict[tuple[str, str], list[Source]]
    versions: dict[str, list[str]]  # of each source, those that these runs were made with
    n_finished: int

    def lines(self, configs: Iterable[str], overrides: Mapping[str, Any], redo: bool = False) -> list[str]:
        """Return a line for each source that has changed, and one that says what becomes of these runs.

        `configs` and `overrides` are those of the sweep; `redo` says that the runs are made again.
        """
        counts = Counter(source for sources in self.runs.values() for source in sources)
        lines = [
            f"{n} of {self.n_finished} finished runs were made with other {source.kind} than {source.name} has now"
            for source, n in counts.items()
        ]
        command = shlex.join(
            ["snakemake", "--cores", "4", *snakemake_options(configs, {**overrides, "outdated": "redo"})]
        )
        what = "outdated: redo makes them again" if redo else f"they are kept; to make them again: {command}"
        return [*lines, what] if lines else []


def find_outdated(sweep: Sweep, results: Path, present: Present | None = None) -> Outdated:
    """Look through the records of a sweep that are there; one that cannot be read does not count."""
    present = present or Present(results)
    there = set(list_records(results))
    runs: dict[tuple[str, str], list[Source]] = {}
    versions: defaultdict[str, set[str]] = defaultdict(set)
    n_finished = 0
    for exp_name, digest, setting in sweep.records():
        if (exp_name, digest) not in there:
            continue
        n_finished += 1
        if not present.versions(setting):
            continue
        with contextlib.suppress(RecordError, OSError):
            made = made_with(read_end(results / record_name(exp_name, digest)), setting)
            if changed := present.changed(setting, made):
                runs[exp_name, digest] = changed
                for source in changed:
                    versions[str(source)].add(made[source][0])
    return Outdated(runs, {source: sorted(found) for source, found in sorted(versions.items())}, n_finished)


def outdated_sources(made: Made, versions: Mapping[str, Collection[str]]) -> str:
    """Return the kinds of sources whose version is an outdated one: `code`, `data`, `code and data` or nothing."""
    return " and ".join(source.kind for source, ids in made.items() if ids[0] in versions.get(str(source), ()))


def outdated_note(counts: Mapping[str, int], n_runs: int) -> str:
    """Return a sentence on outdated runs from their number by `outdated_sources`; nothing where there are none."""
    parts = (f"{n} of {n_runs} runs were made with other {what} than now" for what, n in counts.items() if n)
    return "; ".join(parts)


def tell_apart(made: Mapping[Key, Made]) -> dict[Key, str]:
    """Return for each of some runs what tells its versions from those of the others, such as `code 3f2a`.

    Empty for sources of a single version. A run that knows less (its module's sha1) counts as the only one that fits.
    """
    fits: defaultdict[tuple[Source, str], set[str]] = defaultdict(set)
    for one in made.values():
        for source, (digest, *others) in one.items():
            for other in others:
                fits[source, other].add(digest)

    def exact(source: Source, version: str) -> str:
        found = fits.get((source, version), set())
        return next(iter(found)) if len(found) == 1 else version

    exactly = {key: {source: exact(source, ids[0]) for source, ids in one.items()} for key, one in made.items()}
    versions: defaultdict[Source, set[str]] = defaultdict(set)
    for known in exactly.values():
        for source, version in known.items():
            versions[source].add(version)
    length = {source: _enough_digits(several) for source, several in versions.items() if len(several) > 1}
    return {
        key: ", ".join(f"{source.kind} {known[source][: length[source]]}" for source in known if source in length)
        for key, known in exactly.items()
    }


def _enough_digits(versions: set[str]) -> int:
    n = SHORT
    while len({version[:n] for version in versions}) < len(versions):
        n += 1
    return n

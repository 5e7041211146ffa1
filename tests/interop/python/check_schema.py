"""Does Python agree with Rust about what an event is?

    check_schema.py CONSUMER_SCHEMA PRODUCER_SCHEMA SAMPLES_DIR EMITTED_JSONL

Checks the two generated schemas, every sample in SAMPLES_DIR against its `verdicts.json`, and
every event that the Rust side emitted (one per line) against the schemas and the original's
pydantic model. The malformed rules are written here a second time, on Python's own parser, so that
a mistake has to be made twice, in two languages, to go unseen.

Prints one line per disagreement and then the totals. Exit status: 0 all agree, 1 a disagreement,
2 wrong usage.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from model import FreeFoodEvent

PAYLOAD_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 64
RESERVED_KEY_PREFIX = "$serde_json::private::"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
VERDICTS = "verdicts.json"
VERDICT_KEYS = ["file", "about", "malformed", "consumer", "producer", "pydantic"]
VERDICT_TYPES = [str, str, bool, bool, bool, bool]

STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
SURROGATE = re.compile("[\ud800-\udfff]")


# Malformed: what JSON Schema cannot see, decided on the raw bytes.


class Malformed(Exception):
    """The bytes are not an acceptable JSON text; the message says why."""


class Pairs(NamedTuple):
    """A JSON object before repeated keys are folded, so that no hidden value escapes the checks."""

    pairs: list[tuple[str, Any]]


def reject_if_malformed(payload: bytes) -> None:
    """Raises `Malformed` unless `payload` keeps every rule that precedes the schema."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Malformed("payload over the size limit")
    try:
        text = payload.decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: {error.reason}") from error
    if text.startswith("\ufeff"):
        raise Malformed("starts with a BOM")
    # Before parsing: json.loads recurses per level and would run out of stack on hostile input.
    if depth_of(text) > DEPTH_MAX:
        raise Malformed("nested too deep")
    document = parse_keeping_repeats(text)
    if isinstance(document, Pairs):
        keys = [key for key, _ in document.pairs]
        if len(keys) != len(set(keys)):
            raise Malformed("key repeated at the top level")
    check_keys_and_strings(document)


def depth_of(text: str) -> int:
    """How many containers enclose the deepest point. Exact as far as `text` is JSON, and a parser
    gets no further than that."""
    depth = deepest = 0
    for token in STRING_OR_BRACKET.finditer(text):
        match token.group()[0]:
            case "[" | "{":
                depth += 1
                deepest = max(deepest, depth)
            case "]" | "}":
                depth -= 1
    return deepest


def parse_keeping_repeats(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=Pairs,
            parse_constant=refuse_constant,
            parse_float=finite,
            # The contract measures integers as 64-bit floats too. This also stays clear of int(),
            # which has a digit limit of its own.
            parse_int=finite,
        )
    except json.JSONDecodeError as error:
        raise Malformed(f"not one JSON value: {error.msg}") from error


def refuse_constant(name: str) -> Any:
    """json.loads takes NaN, Infinity and -Infinity unless told otherwise."""
    raise Malformed(f"{name} is not JSON")


def finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise Malformed("number overflows a 64-bit float")
    return number


def check_keys_and_strings(document: Any) -> None:
    todo = [document]
    while todo:
        match todo.pop():
            case Pairs(pairs):
                for key, value in pairs:
                    if key.startswith(RESERVED_KEY_PREFIX):
                        raise Malformed("reserved key")
                    todo += [key, value]
            case list(items):
                todo += items
            case str(string):
                # Python joins an escaped pair into one character, so what is left stands alone.
                if SURROGATE.search(string):
                    raise Malformed("lone surrogate")


def malformed_reason(payload: bytes) -> str | None:
    try:
        reject_if_malformed(payload)
    except Malformed as error:
        return str(error)
    return None


# The schemas.


def validator(schema: Any) -> Draft202012Validator:
    # The empty registry makes a reference that leaves the file an error and not a download.
    return Draft202012Validator(
        schema, format_checker=Draft202012Validator.FORMAT_CHECKER, registry=Registry()
    )


def schema_disagreements(name: str, schema: Any) -> Iterator[str]:
    try:
        # With formats, so that a pattern which Python cannot compile is found here.
        Draft202012Validator.check_schema(
            schema, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
    except SchemaError as error:
        yield f"{name}: not a valid schema: {error.message} at {error.json_path}"
        return
    if not isinstance(schema, dict) or schema.get("$schema") != DIALECT:
        yield f"{name}: $schema is not {DIALECT}"
        return
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    for reference in references(schema):
        if not reference.startswith("#"):
            yield f"{name}: $ref leaves the file: {reference}"
            continue
        try:
            resolver.lookup(reference)
        except Unresolvable:
            yield f"{name}: $ref points nowhere: {reference}"


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


# The samples.


class Judges(NamedTuple):
    consumer: Draft202012Validator
    producer: Draft202012Validator

    def verdict(self, payload: bytes) -> dict[str, bool]:
        """What this side says of `payload`, under the same names as verdicts.json."""
        malformed = malformed_reason(payload) is not None
        document = None if malformed else json.loads(payload.decode())
        return {
            "malformed": malformed,
            "consumer": not malformed and self.consumer.is_valid(document),
            "producer": not malformed and self.producer.is_valid(document),
            # Asked of malformed bytes as well: what the original does with them is worth knowing.
            "pydantic": pydantic_accepts(payload),
        }


def pydantic_accepts(payload: bytes) -> bool:
    try:
        FreeFoodEvent.model_validate_json(payload)
    except ValidationError:
        return False
    return True


def sample_disagreements(judges: Judges, directory: Path, verdicts: list[Any]) -> Iterator[str]:
    for row in verdicts:
        name = row["file"]
        try:
            found = judges.verdict((directory / name).read_bytes())
        except FileNotFoundError:
            yield f"{name}: listed in {VERDICTS}, but there is no such file"
            continue
        except RecursionError:
            # A verdict that was never reached agrees with nothing.
            yield f"{name}: no verdict, Python ran out of stack"
            continue
        for judge, verdict in found.items():
            if verdict is not row[judge]:
                yield f"{name}: {judge} is {verdict}, {VERDICTS} says {row[judge]}"


def listing_disagreements(directory: Path, verdicts: list[Any]) -> Iterator[str]:
    """A file without a row, or a row that contradicts itself, weakens the corpus in silence."""
    listed = [row["file"] for row in verdicts]
    if listed != sorted(set(listed)):
        yield f"{VERDICTS}: not sorted by file, or a file is listed twice"
    for path in sorted(directory.iterdir()):
        if path.name != VERDICTS and path.name not in listed:
            yield f"{path.name}: not listed in {VERDICTS}"
    for row in verdicts:
        if row["malformed"] and row["consumer"]:
            yield f"{row['file']}: {VERDICTS} says malformed and yet good"
        if row["producer"] and not row["consumer"]:
            yield f"{row['file']}: {VERDICTS} has the producer profile wider than the consumer's"


# What the Rust side emits.


def emitted_disagreements(judges: Judges, lines: list[bytes]) -> Iterator[str]:
    if not lines:
        yield "emitted: no events, so nothing was checked"
    for number, line in enumerate(lines, start=1):
        try:
            for complaint in event_disagreements(judges, line):
                yield f"emitted line {number}: {complaint}"
        except RecursionError:
            yield f"emitted line {number}: no verdict, Python ran out of stack"


def event_disagreements(judges: Judges, payload: bytes) -> Iterator[str]:
    reason = malformed_reason(payload)
    if reason is not None:
        yield f"malformed: {reason}"
        return
    document = json.loads(payload.decode())
    broken = [*complaints("consumer", judges.consumer, document)]
    broken += complaints("producer", judges.producer, document)
    yield from broken
    try:
        event = FreeFoodEvent.model_validate_json(payload)
    except ValidationError as error:
        yield f"pydantic refuses it: {error.errors(include_input=False, include_url=False)}"
        return
    # The round trip reads fields that only a valid event is sure to have.
    if not broken:
        yield from round_trip_disagreements(judges.consumer, document, event)


def complaints(name: str, profile: Draft202012Validator, document: Any) -> Iterator[str]:
    for error in profile.iter_errors(document):
        yield f"{name} schema refuses {error.json_path} ({error.validator})"


def round_trip_disagreements(
    consumer: Draft202012Validator, document: dict[str, Any], event: FreeFoodEvent
) -> Iterator[str]:
    for field, read in [("start_time", event.start_time), ("published_at", event.published_at)]:
        text = document.get(field)
        if (None if text is None else exact_time(text)) != read:
            yield f"{field} {text} reads as {read} in pydantic"
    again = json.dumps(event.model_dump(mode="json"))
    reason = malformed_reason(again.encode())
    if reason is not None:
        yield f"pydantic's own dump is malformed: {reason}"
        return
    for complaint in complaints("consumer", consumer, json.loads(again)):
        yield f"pydantic's own dump: {complaint}"


def exact_time(text: str) -> datetime | None:
    """The contract's timestamp, or None if Python could only keep a rounded one. Taken apart by
    hand: `fromisoformat` drops digits past the sixth without a word."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    if len(fraction) > 6:
        return None
    whole = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return whole + timedelta(microseconds=int(fraction.ljust(6, "0")))


# The command line.


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ["consumer_schema", "producer_schema", "samples_dir", "emitted_jsonl"]:
        parser.add_argument(name, type=Path, metavar=name.upper())
    paths = parser.parse_args()
    if "date-time" not in Draft202012Validator.FORMAT_CHECKER.checkers:
        # Without the extra, jsonschema skips the format and 30 February passes.
        parser.error("date-time is not checked here: install jsonschema[format]")
    try:
        paths.consumer = json.loads(paths.consumer_schema.read_bytes())
        paths.producer = json.loads(paths.producer_schema.read_bytes())
        paths.verdicts = read_verdicts(paths.samples_dir / VERDICTS)
        paths.emitted = paths.emitted_jsonl.read_bytes().split(b"\n")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if paths.emitted[-1] == b"":
        paths.emitted.pop()
    return paths


def read_verdicts(path: Path) -> list[Any]:
    verdicts = json.loads(path.read_bytes())
    if not isinstance(verdicts, list):
        raise ValueError(f"{path}: not an array")
    for row in verdicts:
        keys = list(row) if isinstance(row, dict) else []
        if keys != VERDICT_KEYS or [type(value) for value in row.values()] != VERDICT_TYPES:
            raise ValueError(f"{path}: not a verdict: {row}")
    return verdicts


def report(disagreements: Iterable[str]) -> int:
    count = 0
    for count, line in enumerate(disagreements, start=1):
        # ASCII, so that neither the terminal's encoding nor a control character can garble it.
        print(line.encode("unicode_escape").decode("ascii"))
    return count


def main() -> int:
    given = arguments()
    broken = report(schema_disagreements(given.consumer_schema.name, given.consumer))
    broken += report(schema_disagreements(given.producer_schema.name, given.producer))
    if broken:
        # Verdicts of a broken schema would only bury the cause.
        print(f"checked 0 samples, 0 emitted, {broken} disagreements")
        return 1
    judges = Judges(validator(given.consumer), validator(given.producer))
    count = report(listing_disagreements(given.samples_dir, given.verdicts))
    count += report(sample_disagreements(judges, given.samples_dir, given.verdicts))
    count += report(emitted_disagreements(judges, given.emitted))
    samples, emitted = len(given.verdicts), len(given.emitted)
    print(f"checked {samples} samples, {emitted} emitted, {count} disagreements")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the original's services do on Redis Streams, with redis-py and nothing of ours.

    redis_client.py publish URL STREAM COUNT OUT
    redis_client.py read    URL STREAM COUNT OUT
    redis_client.py fail    URL STREAM COUNT OUT TO

`publish` writes COUNT events to STREAM. `read` reads COUNT entries as a member of a group,
validates each and acknowledges it. `fail` reads them likewise, and publishes each anew to TO, as
after a processing error. All write to OUT the payloads, one a line: those published, or those read.

Exit status: 0 all went well, 1 an entry is not as it must be, or there are not COUNT of them.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import redis
from pydantic import ValidationError

from messaging import build_free_food_message, on_processing_error
from model import FreeFoodEvent

GROUP = "my_service"
CONSUMER = "worker_1"
# The original's.
BLOCK_MS = 5000
COUNT_PER_READ = 10
MESSAGE_ID_BYTES_MAX = 255


class Wrong(Exception):
    """An entry is not as it must be; the message says how."""


# Publishing.


def events(count: int) -> Iterator[str]:
    """Payloads as the original's producers write them: half by the model, with its nulls, half by
    the builder, whose times end in `+00:00` made `Z`."""
    start = datetime(2025, 11, 2, 18, 0, 0, 123456, tzinfo=timezone.utc)
    for n in range(count):
        at = start + timedelta(minutes=n, microseconds=n % 2)
        if n % 2 == 0:
            event = FreeFoodEvent(
                event_id=f"py-{n}",
                title=f"Free Pizza Night {n} \U0001f355\u2028",
                description=None if n % 3 else 'Join us for "free" pizza!',
                location="CS Building, Room 150" if n % 5 else None,
                start_time=at if n % 7 else None,
                source="umass-calendar",
                llm_confidence=n % 101 / 100 if n % 11 else None,
                reason=None,
                published_at=datetime.now(timezone.utc),
                metadata={"organizer": "ACM", "n": n, "deep": [{"x": 1.1}]} if n % 4 else {},
            )
            yield event.model_dump_json()
        else:
            raw = {
                "id": f"py-{n}",
                "title": f"Pancakes {n} \U0001f95e",
                "start_time": at.isoformat().replace("+00:00", "Z"),
                "llm_confidence": n % 2,
                "metadata": None if n % 3 else {"raw_source_id": f"cal-{n}"},
            }
            yield json.dumps(build_free_food_message(raw), ensure_ascii=n % 3 == 0)


def publish(client: redis.Redis, given: argparse.Namespace) -> list[bytes]:
    payloads = [payload.encode() for payload in events(given.count)]
    for payload in payloads:
        client.xadd(given.stream, {"data": payload})
    return payloads


# Consuming.


def entries(client: redis.Redis, stream: str, count: int) -> Iterator[dict[bytes, bytes]]:
    """The next entries, each acknowledged once the caller is done with it."""
    try:
        client.xgroup_create(stream, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    left = count
    while left > 0:
        reply = client.xreadgroup(
            GROUP, CONSUMER, {stream: ">"}, count=COUNT_PER_READ, block=BLOCK_MS
        )
        if not reply:
            raise Wrong(f"{count - left} entries of {count}")
        # A list of pairs by protocol 2, a map to lists of lists of pairs by protocol 3.
        page = reply[stream.encode()][0] if isinstance(reply, dict) else reply[0][1]
        for entry_id, fields in page:
            yield fields
            client.xack(stream, GROUP, entry_id)
            left -= 1
    if client.xreadgroup(GROUP, CONSUMER, {stream: ">"}, count=1):
        raise Wrong(f"more than {count} entries")
    if client.xpending(stream, GROUP)["pending"] != 0:
        raise Wrong("entries are pending that were acknowledged")


def payload_of(fields: dict[bytes, bytes]) -> tuple[bytes, FreeFoodEvent]:
    """The payload, which the original's model accepts, and what our headers say of it."""
    payload = fields[b"data"]
    try:
        event = FreeFoodEvent.model_validate_json(payload)
    except ValidationError as error:
        raise Wrong(str(error.errors(include_input=False, include_url=False))) from error
    if fields.get(b"h:content-type") != b"application/json":
        raise Wrong(f"{event.event_id}: no content type")
    event_id = event.event_id.encode()
    expected = event_id if len(event_id) <= MESSAGE_ID_BYTES_MAX else None
    if fields.get(b"h:message-id") != expected:
        raise Wrong(f"{event.event_id}: another message id")
    return payload, event


def read(client: redis.Redis, given: argparse.Namespace) -> list[bytes]:
    return [payload_of(fields)[0] for fields in entries(client, given.stream, given.count)]


def fail(client: redis.Redis, given: argparse.Namespace) -> list[bytes]:
    payloads = []
    for n, fields in enumerate(entries(client, given.stream, given.count)):
        payload, _ = payload_of(fields)
        message = on_processing_error(json.loads(payload), f"no seats left \u2615 {n}")
        client.xadd(given.to, {"data": json.dumps(message)})
        payloads.append(payload)
    return payloads


# The command line.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["publish", "read", "fail"])
    parser.add_argument("url")
    parser.add_argument("stream")
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("to", nargs="?")
    given = parser.parse_args()
    with redis.from_url(given.url) as client:
        try:
            payloads = {"publish": publish, "read": read, "fail": fail}[given.verb](client, given)
        except Wrong as wrong:
            print(wrong)
            return 1
    given.out.write_bytes(b"".join(payload + b"\n" for payload in payloads))
    print(f"{given.verb}: {len(payloads)} messages")
    return 0


if __name__ == "__main__":
    sys.exit(main())

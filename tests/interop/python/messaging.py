"""Functions of the Python system that this project replaces, copied unchanged from its messaging
document. What they do to a message is what arrives on the bus."""

from datetime import datetime, timezone
from uuid import uuid4


def build_free_food_message(raw_event: dict) -> dict:
    return {
        "schema_version": "1.0.0",
        "event_id": raw_event.get("id") or str(uuid4()),
        "title": raw_event["title"],
        "description": raw_event.get("description"),
        "location": raw_event.get("location"),
        "start_time": raw_event.get("start_time"),
        "source": raw_event.get("source", "unknown"),
        "llm_confidence": raw_event.get("llm_confidence"),
        "reason": raw_event.get("reason"),
        "type": "FREE_FOOD_EVENT",
        "published_at": datetime.now(timezone.utc).isoformat().replace("+00:00", "Z"),
        "retries": 0,
        "metadata": raw_event.get("metadata") or {},
    }


def on_processing_error(msg: dict, error_msg: str) -> dict:
    msg["retries"] = msg.get("retries", 0) + 1
    msg.setdefault("metadata", {})
    msg["metadata"]["last_error"] = error_msg
    return msg

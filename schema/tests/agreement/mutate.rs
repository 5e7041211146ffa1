//! How does an event become another text, mostly one that still reaches the schema?

use crate::rng::Rng;
use crate::text::{Node, quoted, respelled};
use crate::values;

pub(crate) type Members = Vec<(String, Node)>;

/// Changes one thing. `value_of` makes a value, good or bad, for the field of this name.
pub(crate) fn mutate(
    members: &mut Members,
    value_of: impl Fn(&str, &mut Rng) -> Node,
    rng: &mut Rng,
) {
    let at = rng.below(members.len());
    let Some((key, value)) = members.get_mut(at) else {
        return;
    };
    match rng.below(100) {
        0..55 => {
            let name = serde_json::from_str::<String>(key).unwrap_or_default();
            *value = value_of(&name, rng);
        }
        55..60 => drop(members.remove(at)),
        60..70 => unknown(members, rng),
        70..75 => *key = respelled(key, rng),
        75..80 => *key = misspelled(key, rng),
        80..88 => {
            if let Node::Scalar(text) = value {
                *text = respelled(text, rng);
            }
        }
        88..90 => {
            let (key, value) = (respelled(key, rng), value.clone());
            members.push((key, value));
        }
        90..92 => *value = Node::scalar("null"),
        92..94 => *value = Node::Array(vec![value.clone()]),
        94..98 => {
            let to = rng.below(members.len());
            members.swap(at, to);
        }
        _ => *value = values::any(rng, 3),
    }
}

fn unknown(members: &mut Members, rng: &mut Rng) {
    let keys = [
        "price",
        "",
        "x",
        "$schema",
        "é",
        "data",
        "retries ",
        "\u{0}",
        "$serde_json::private",
    ];
    let key = if rng.percent(2) {
        "$serde_json::private::RawValue"
    } else {
        rng.pick(&keys)
    };
    let value = if rng.percent(5) {
        values::deep(rng)
    } else {
        values::any(rng, 3)
    };
    members.insert(rng.below(members.len() + 1), (quoted(key), value));
}

fn misspelled(key: &str, rng: &mut Rng) -> String {
    let name = serde_json::from_str::<String>(key).unwrap_or_default();
    let other = match rng.below(5) {
        0 => name.to_uppercase(),
        1 => format!("{name} "),
        2 => format!("{name}\n"),
        3 => name.replace('_', "-"),
        _ => name.chars().skip(1).collect(),
    };
    quoted(&other)
}

/// Changes bytes, with no thought of JSON.
pub(crate) fn damage(text: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.below(text.len());
    let bytes = b"\"\\{}[]:,0123456789eE+-. \n\0\xff\xc3untf";
    let byte = bytes[rng.below(bytes.len())];
    match rng.below(5) {
        0 => text.truncate(at),
        1 => text.insert(at, byte),
        2 if !text.is_empty() => drop(text.remove(at)),
        3 => text.extend_from_slice(rng.pick(&[&b" "[..], b"\n", b"{}", b"\0", b","])),
        _ => {
            if let Some(old) = text.get_mut(at) {
                *old = byte;
            }
        }
    }
}

//! What is JSON before it is written, with every spelling still open?

use serde_json::Value;

use crate::rng::Rng;

/// A value whose scalars and keys are already written, quotes and all.
#[derive(Clone)]
pub(crate) enum Node {
    Scalar(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::Array(items.iter().map(Self::of).collect()),
            Value::Object(members) => Self::Object(
                members
                    .iter()
                    .map(|(key, value)| (quoted(key), Self::of(value)))
                    .collect(),
            ),
            scalar => Self::Scalar(scalar.to_string()),
        }
    }

    pub(crate) fn scalar(text: impl Into<String>) -> Self {
        Self::Scalar(text.into())
    }

    pub(crate) fn string(text: &str) -> Self {
        Self::Scalar(quoted(text))
    }

    pub(crate) fn write(&self, rng: &mut Rng) -> String {
        let mut text = String::new();
        // Most writers put no space or always the same; a few texts have some of everything.
        let spaced = rng.percent(20);
        self.write_into(&mut text, spaced, rng);
        text
    }

    fn write_into(&self, text: &mut String, spaced: bool, rng: &mut Rng) {
        let space = |text: &mut String, rng: &mut Rng| {
            if spaced {
                text.push_str(rng.pick(&["", "", " ", "\n", "\t", "\r\n", "   "]));
            }
        };
        match self {
            Self::Scalar(scalar) => text.push_str(scalar),
            Self::Array(items) => {
                text.push('[');
                for (at, item) in items.iter().enumerate() {
                    text.push_str(if at == 0 { "" } else { "," });
                    space(text, rng);
                    item.write_into(text, spaced, rng);
                }
                space(text, rng);
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    text.push_str(if at == 0 { "" } else { "," });
                    space(text, rng);
                    text.push_str(key);
                    space(text, rng);
                    text.push(':');
                    space(text, rng);
                    value.write_into(text, spaced, rng);
                }
                space(text, rng);
                text.push('}');
            }
        }
    }
}

pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The same string, some of its characters as `\uXXXX`.
pub(crate) fn respelled(quoted: &str, rng: &mut Rng) -> String {
    let Ok(text) = serde_json::from_str::<String>(quoted) else {
        return quoted.to_owned();
    };
    let mut spelled = String::from('"');
    for c in text.chars() {
        if rng.percent(40) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let upper = format!("{unit:04X}");
                let lower = format!("{unit:04x}");
                spelled.push_str("\\u");
                spelled.push_str(if rng.percent(50) { &upper } else { &lower });
            }
        } else if c == '/' && rng.percent(50) {
            spelled.push_str("\\/");
        } else {
            let written = self::quoted(c.encode_utf8(&mut [0; 4]));
            spelled.push_str(&written[1..written.len() - 1]);
        }
    }
    spelled.push('"');
    spelled
}

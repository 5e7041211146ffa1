//! Does a body hold a float that JSON cannot write?
//!
//! serde_json writes NaN and the infinities as `null` without a word. This serializer writes
//! nothing and fails at the first of them.

use std::fmt::{self, Display};

use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use crate::error::{Error, ErrorKind, Result};

/// Fails when `value` holds a float that is not finite.
pub(super) fn check(value: &impl Serialize) -> Result<()> {
    value.serialize(Finite).map_err(|error| {
        let rule = match error {
            Found::NotFinite => "a float that is not finite has no JSON; leave it out",
            Found::Custom => "the body does not serialise",
        };
        Error::new(ErrorKind::Invalid, "encode event", rule)
    })
}

#[derive(Debug)]
enum Found {
    NotFinite,
    Custom,
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not finite")
    }
}
impl std::error::Error for Found {}
impl ser::Error for Found {
    fn custom<T: Display>(_: T) -> Self {
        Self::Custom
    }
}

type Checked = std::result::Result<(), Found>;

#[derive(Clone, Copy)]
struct Finite;

macro_rules! fine {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, _: $type) -> Checked { Ok(()) })*
    };
}

macro_rules! opens {
    ($($method:ident($($arg:ty),*) -> $compound:ident),* $(,)?) => {
        $(fn $method(self, $(_: $arg),*) -> std::result::Result<Self::$compound, Found> {
            Ok(self)
        })*
    };
}

impl ser::Serializer for Finite {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fine! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_char: char,
        serialize_str: &str, serialize_bytes: &[u8], serialize_unit_struct: &'static str,
    }

    opens! {
        serialize_seq(Option<usize>) -> SerializeSeq,
        serialize_tuple(usize) -> SerializeTuple,
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> SerializeTupleVariant,
        serialize_map(Option<usize>) -> SerializeMap,
        serialize_struct(&'static str, usize) -> SerializeStruct,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> SerializeStructVariant,
    }

    fn serialize_f32(self, value: f32) -> Checked {
        if value.is_finite() {
            Ok(())
        } else {
            Err(Found::NotFinite)
        }
    }

    fn serialize_f64(self, value: f64) -> Checked {
        if value.is_finite() {
            Ok(())
        } else {
            Err(Found::NotFinite)
        }
    }

    fn serialize_none(self) -> Checked {
        Ok(())
    }

    fn serialize_unit(self) -> Checked {
        Ok(())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Checked {
        Ok(())
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self)
    }

    /// Nothing is written, so nothing is formatted.
    fn collect_str<T: ?Sized + Display>(self, _: &T) -> Checked {
        Ok(())
    }
}

macro_rules! compound {
    ($($trait:ident::$method:ident),* $(,)?) => {$(
        impl $trait for Finite {
            type Ok = ();
            type Error = Found;
            fn $method<T: ?Sized + Serialize>(&mut self, value: &T) -> Checked {
                value.serialize(*self)
            }
            fn end(self) -> Checked {
                Ok(())
            }
        }
    )*};
}
compound! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

macro_rules! named_fields {
    ($($trait:ident),*) => {$(
        impl $trait for Finite {
            type Ok = ();
            type Error = Found;
            fn serialize_field<T>(&mut self, _: &'static str, value: &T) -> Checked
            where
                T: ?Sized + Serialize,
            {
                value.serialize(*self)
            }
            fn end(self) -> Checked {
                Ok(())
            }
        }
    )*};
}
named_fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Finite {
    type Ok = ();
    type Error = Found;
    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Checked {
        key.serialize(*self)
    }
    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Checked {
        value.serialize(*self)
    }
    fn end(self) -> Checked {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        New(f64),
        Tuple(u8, f32),
        Struct { x: Option<f64> },
    }

    #[test]
    fn finds_a_float_that_is_not_finite_wherever_it_is() {
        for bad in [
            Shape::New(f64::NAN),
            Shape::Tuple(1, f32::INFINITY),
            Shape::Struct {
                x: Some(f64::NEG_INFINITY),
            },
        ] {
            assert!(check(&bad).is_err() && check(&vec![("a", &bad)]).is_err());
            assert!(check(&BTreeMap::from([("k", Some(&bad))])).is_err());
        }
        for good in [
            Shape::Unit,
            Shape::New(1.5),
            Shape::Tuple(1, 0.0),
            Shape::Struct { x: None },
        ] {
            assert!(check(&good).is_ok());
        }
    }
}

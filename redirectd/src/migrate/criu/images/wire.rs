//! Protobuf messages as a row of fields, each with its bytes as they came.
//!
//! See <https://protobuf.dev/programming-guides/encoding/>. Decoding a message
//! into a type and encoding it again would lose the fields that the type does
//! not know; here they stay where they are.

use super::file::Malformed;

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
    /// All of it, its key included.
    pub(super) bytes: &'a [u8],
}

/// A field's value, as far as it is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Integers, enumerations and booleans.
    Number(u64),
    /// Strings, bytes, messages and packed numbers.
    Bytes(&'a [u8]),
    /// Numbers of four or eight bytes.
    Fixed,
}

/// The longest number takes ten bytes of seven bits.
const NUMBER_MAX: usize = 10;

/// All fields of a message, in their order.
pub(super) fn fields(mut message: &[u8]) -> Result<Vec<Field<'_>>, Malformed> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let (field, rest) = field(message)?;
        fields.push(field);
        message = rest;
    }
    Ok(fields)
}

/// The numbers in `value` of a field that holds one or, packed, several.
pub(super) fn numbers(value: Value<'_>) -> Result<Vec<u64>, Malformed> {
    match value {
        Value::Number(number) => Ok(vec![number]),
        Value::Bytes(mut packed) => {
            let mut numbers = Vec::new();
            while !packed.is_empty() {
                numbers.push(take_number(&mut packed)?);
            }
            Ok(numbers)
        }
        Value::Fixed => Err(Malformed("a number has another form than CRIU gives it")),
    }
}

/// Adds a field that holds a number.
pub(super) fn put_number(message: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(message, u64::from(field) << 3);
    put_varint(message, number);
}

/// Adds a field that holds bytes.
pub(super) fn put_bytes(message: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(message, u64::from(field) << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn field(message: &[u8]) -> Result<(Field<'_>, &[u8]), Malformed> {
    let mut rest = message;
    let key = take_number(&mut rest)?;
    let number = u32::try_from(key >> 3).ok().filter(|number| *number != 0);
    let number = number.ok_or(Malformed("a field has an impossible number"))?;
    let value = match key & 7 {
        0 => Value::Number(take_number(&mut rest)?),
        1 => take(&mut rest, 8).map(|_| Value::Fixed)?,
        2 => {
            let length = take_number(&mut rest)?;
            let length = usize::try_from(length).map_err(|_| Malformed("a field is too long"))?;
            Value::Bytes(take(&mut rest, length)?)
        }
        5 => take(&mut rest, 4).map(|_| Value::Fixed)?,
        _ => return Err(Malformed("a field is of a type that CRIU does not use")),
    };
    let bytes = &message[..message.len() - rest.len()];
    Ok((Field { number, value, bytes }, rest))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, left) =
        rest.split_at_checked(length).ok_or(Malformed("a field ends beyond its message"))?;
    *rest = left;
    Ok(taken)
}

fn take_number(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for (place, byte) in rest.iter().take(NUMBER_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * place as u32;
        // Of the tenth byte, one bit is left.
        if bits.checked_shl(shift).is_none_or(|shifted| shifted >> shift != bits) {
            return Err(Malformed("a number has more than 64 bits"));
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            *rest = &rest[place + 1..];
            return Ok(number);
        }
    }
    Err(Malformed("a number has no end"))
}

fn put_varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_of_every_kind_of_field_is_read() {
        let message = [
            &[0x08, 0x96, 0x01][..],         // 1: 150
            &[0x12, 2, b'h', b'i'],          // 2: "hi"
            &[0x1d, 1, 2, 3, 4],             // 3: four bytes
            &[0x21, 1, 2, 3, 4, 5, 6, 7, 8], // 4: eight bytes
        ];
        let all = message.concat();
        let fields = fields(&all).unwrap();
        let values: Vec<_> = fields.iter().map(|field| (field.number, field.value)).collect();
        let expected = [
            (1, Value::Number(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Fixed),
            (4, Value::Fixed),
        ];
        assert_eq!(values, expected);
        assert_eq!(fields.iter().map(|field| field.bytes).collect::<Vec<_>>(), message);
    }

    #[test]
    fn numbers_are_read_alone_and_packed() {
        assert_eq!(numbers(Value::Number(7)), Ok(vec![7]));
        assert_eq!(numbers(Value::Bytes(&[1, 0xac, 0x02])), Ok(vec![1, 300]));
        assert!(numbers(Value::Bytes(&[0x80])).is_err());
        assert!(numbers(Value::Fixed).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_fields_or_an_error_and_fields_are_all_the_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(fields) = fields(&bytes) {
                let all: Vec<u8> = fields.iter().flat_map(|field| field.bytes).copied().collect();
                prop_assert_eq!(all, bytes);
            }
        }

        #[test]
        fn what_is_put_is_read(number in 1u32..1 << 29, value: u64, bytes: Vec<u8>) {
            let mut message = Vec::new();
            put_number(&mut message, number, value);
            put_bytes(&mut message, number, &bytes);
            let fields = fields(&message).unwrap();
            prop_assert_eq!(fields.len(), 2);
            prop_assert_eq!((fields[0].number, fields[0].value), (number, Value::Number(value)));
            prop_assert_eq!((fields[1].number, fields[1].value), (number, Value::Bytes(&bytes)));
        }
    }
}

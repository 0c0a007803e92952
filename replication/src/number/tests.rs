//! Bytes that real V8 writes, and bytes that nobody should.

use super::*;
use proptest::prelude::*;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn double(value: f64) -> Number {
    Number::Double(value)
}

fn big(value: i128) -> Number {
    Number::BigInt(BigInt::from(value))
}

#[test]
fn the_format_is_frozen() -> TestResult {
    let written: [(Number, &[u8]); 7] = [
        (double(1.5), b"\xff\x0fN\0\0\0\0\0\0\xf8\x3f"),
        (double(f64::from_bits(0xfff8_0000_0000_0001)), b"\xff\x0fN\0\0\0\0\0\0\xf8\x7f"),
        (double(-0.0), b"\xff\x0fN\0\0\0\0\0\0\0\x80"),
        (big(0), b"\xff\x0fZ\0"),
        (big(1), b"\xff\x0fZ\x10\x01\0\0\0\0\0\0\0"),
        (big(-1), b"\xff\x0fZ\x11\x01\0\0\0\0\0\0\0"),
        (big(1 << 64), b"\xff\x0fZ\x20\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"),
    ];
    for (number, bytes) in written {
        assert_eq!(encode(&number)?, bytes, "{number:?}");
    }
    Ok(())
}

#[test]
fn every_version_and_form_that_clients_write_is_read() -> TestResult {
    let read: [(&[u8], Number); 14] = [
        (b"\xff\x0dI\x02", double(1.0)),
        (b"\xff\x0eI\x01", double(-1.0)),
        (b"\xff\x0fI\xfe\xff\xff\xff\x0f", double(f64::from(i32::MAX))),
        (b"\xff\x10I\xff\xff\xff\xff\x0f", double(f64::from(i32::MIN))),
        (b"\xff\x10U\xff\xff\xff\xff\x0f", double(f64::from(u32::MAX))),
        (b"\xff\x0fN\0\0\0\0\0\0\xf8\x3f", double(1.5)),
        (b"\xff\x0f\0N\0\0\0\0\0\0\xf8\x3f", double(1.5)),
        (b"\xff\x0f?\x01I\x02", double(1.0)),
        (b"\xff\x0fI\x02 after it", double(1.0)),
        (b"\xff\x0fZ\0", big(0)),
        (b"\xff\x0fZ\x02\0", big(0)),
        (b"\xff\x0fZ\x03\x05", big(-5)),
        (b"\xff\x10Z\x11\x01\0\0\0\0\0\0\x80", big(-0x8000_0000_0000_0001)),
        (b"\xff\x0fZ\x01", big(0)),
    ];
    for (bytes, number) in read {
        assert_eq!(decode(bytes)?, number, "{bytes:x?}");
    }
    Ok(())
}

#[test]
fn other_types_are_unsupported_and_everything_else_is_invalid() {
    for bytes in [&b"\xff\x0fT"[..], b"\xff\x0f\"\x01a", b"\xff\x0fo{\0", b"\xff\x0f_", b"\xff\x0f0"] {
        assert_eq!(decode(bytes), Err(Refusal::UnsupportedValueType), "{bytes:x?}");
    }
    let invalid: [&[u8]; 10] = [
        b"",
        b"\xff",
        b"\xff\x0f",
        b"\xff\x0cI\x02",
        b"\xff\x11I\x02",
        b"I\x02",
        b"\xff\x0fI",
        b"\xff\x0fI\xff\xff\xff\xff\x10",
        b"\xff\x0fN\0\0\0",
        b"\xff\x0fZ\x04\x01",
    ];
    for bytes in invalid {
        assert_eq!(decode(bytes), Err(Refusal::InvalidV8Value), "{bytes:x?}");
    }
    assert_eq!(decode(b"\xff\x0f!"), Err(Refusal::InvalidV8Value));
}

proptest! {
    #[test]
    fn doubles_survive_their_bytes(value in any::<f64>()) {
        let Number::Double(back) = decode(&encode(&double(value))?)? else { panic!("a double") };
        prop_assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()));
    }

    #[test]
    fn bigints_survive_their_bytes(negative: bool, magnitude in prop::collection::vec(any::<u8>(), 0..40)) {
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        let number = Number::BigInt(BigInt::from_bytes_le(sign, &magnitude));
        prop_assert_eq!(decode(&encode(&number)?)?, number);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let with_header = [b"\xff\x0f".as_slice(), &bytes].concat();
        for bytes in [bytes, with_header] {
            if let Ok(number) = decode(&bytes) {
                let again = encode(&number)?;
                prop_assert_eq!(encode(&decode(&again)?)?, again);
            }
        }
    }
}

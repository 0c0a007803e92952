//! Ids of 16 bytes as text.

/// Reads 32 hexadecimal digits.
pub(crate) fn decode(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

/// Writes 32 hexadecimal digits.
pub(crate) fn encode(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_nothing_else_is_read() {
        let id = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
        assert_eq!(encode(id), "000102030405060708090a0b0c0d0eff");
        assert_eq!(decode(&encode(id)), Some(id));
        for text in
            ["", "0", &"0".repeat(31), &"0".repeat(33), &"g".repeat(32), &format!("+{}", "0".repeat(31))]
        {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}

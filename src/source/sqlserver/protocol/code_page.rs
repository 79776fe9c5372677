//! Code pages: how the bytes of `char`, `varchar` and `text` become characters.
//!
//! A column's collation decides. The code page of a Windows collation follows from its locale, that
//! of an SQL collation from its sort order; both are in the documentation of SQL Server
//! (`COLLATIONPROPERTY(name, 'CodePage')` and `sys.fn_helpcollations`).

use encoding_rs::{DecoderResult, Encoding};

use super::cursor::Cursor;

/// How bytes become characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::sqlserver) enum CodePage {
    Utf8,
    /// A code page of Windows that browsers read as Windows does.
    Windows(&'static Encoding),
    /// Code page 936: its pairs, and nothing of the four bytes that later standards have.
    Simplified,
    /// Code page 950: what it has in common with the Big5 of browsers, which is that of Hong Kong.
    Traditional,
    /// The upper half of a code page of DOS.
    Dos(&'static [char; 128]),
    /// None that is known here: ASCII can be read, anything else cannot.
    Unknown,
}

/// Characters 128 to 255 of code page 437, of DOS in the United States.
static DOS_437: [char; 128] = upper_half(
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
);
/// The same of code page 850, of DOS in western Europe.
static DOS_850: [char; 128] = upper_half(
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}",
);

/// Bit of a collation's word that says UTF-8: behind 20 bits of locale and 6 of comparison flags.
const UTF8_FLAG: u32 = 1 << 26;
/// The locale, without its sort order.
const LOCALE: u32 = 0xffff;

impl CodePage {
    /// Reads the five bytes of a COLLATION.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self::of(cursor.u32()?, cursor.u8()?))
    }

    /// The code page of a collation.
    pub(in crate::source::sqlserver) fn of(info: u32, sort_order: u8) -> Self {
        if info & UTF8_FLAG != 0 {
            return Self::Utf8;
        }
        let number = match sort_order {
            0 => of_locale(info & LOCALE),
            order => of_sort_order(order),
        };
        Self::numbered(number)
    }

    fn numbered(number: u16) -> Self {
        Self::Windows(match number {
            437 => return Self::Dos(&DOS_437),
            850 => return Self::Dos(&DOS_850),
            874 => encoding_rs::WINDOWS_874,
            932 => encoding_rs::SHIFT_JIS,
            936 => return Self::Simplified,
            949 => encoding_rs::EUC_KR,
            950 => return Self::Traditional,
            1250 => encoding_rs::WINDOWS_1250,
            1251 => encoding_rs::WINDOWS_1251,
            1252 => encoding_rs::WINDOWS_1252,
            1253 => encoding_rs::WINDOWS_1253,
            1254 => encoding_rs::WINDOWS_1254,
            1255 => encoding_rs::WINDOWS_1255,
            1256 => encoding_rs::WINDOWS_1256,
            1257 => encoding_rs::WINDOWS_1257,
            1258 => encoding_rs::WINDOWS_1258,
            _ => return Self::Unknown,
        })
    }

    /// Appends `bytes` as UTF-8. False when they are no text of this code page. Texts of
    /// [`CodePage::Utf8`] are appended as they are and checked together, later.
    pub(in crate::source::sqlserver) fn append(self, text: &mut Vec<u8>, bytes: &[u8]) -> bool {
        // Every code page of SQL Server has ASCII in its lower half.
        if self == Self::Utf8 || bytes.is_ascii() {
            text.extend_from_slice(bytes);
            return true;
        }
        match self {
            Self::Windows(encoding) => decode(encoding, text, bytes),
            Self::Simplified => {
                pairs(bytes).all(|pair| !is_of_four_bytes(pair)) && decode(encoding_rs::GBK, text, bytes)
            }
            Self::Traditional => {
                pairs(bytes).all(|pair| !is_of_hong_kong(pair)) && decode(encoding_rs::BIG5, text, bytes)
            }
            Self::Dos(upper_half) => {
                for byte in bytes {
                    let character = match byte.checked_sub(128) {
                        None => char::from(*byte),
                        Some(index) => upper_half[usize::from(index)],
                    };
                    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                true
            }
            Self::Utf8 | Self::Unknown => false,
        }
    }
}

/// Decodes into the room behind `text`: nothing is allocated for a value, and nothing copied.
fn decode(encoding: &'static Encoding, text: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let Some(most) = decoder.max_utf8_buffer_length_without_replacement(bytes.len()) else { return false };
    let start = text.len();
    text.resize(start + most, 0);
    let (result, _read, written) =
        decoder.decode_to_utf8_without_replacement(bytes, &mut text[start..], true);
    text.truncate(start + written);
    result == DecoderResult::InputEmpty
}

/// The pairs of a code page whose characters have two bytes, when the first one is not ASCII.
fn pairs(bytes: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            match rest {
                [] | [_] => return None,
                // A byte that stands alone: ASCII, and the euro sign of code page 936.
                [0..=0x80, tail @ ..] => rest = tail,
                [lead, trail, tail @ ..] => {
                    rest = tail;
                    return Some([*lead, *trail]);
                }
            }
        }
    })
}

/// In GB 18030 four bytes begin so, and the decoder of browsers reads them.
fn is_of_four_bytes([_lead, trail]: [u8; 2]) -> bool {
    trail.is_ascii_digit()
}

/// What Windows has no character for in code page 950, or another one than Hong Kong: ranges of a
/// user's own, which hold what somebody put there, pictures of control codes, and one block.
fn is_of_hong_kong([lead, trail]: [u8; 2]) -> bool {
    match lead {
        0x81..=0xa0 | 0xc7 | 0xc8 | 0xfa..=0xfe => true,
        0xa3 => (0xc0..=0xe0).contains(&trail),
        0xc6 => trail >= 0xa1,
        0xf9 => trail == 0xfe,
        _ => false,
    }
}

/// The characters of `text`, which has 128 of them.
const fn upper_half(text: &str) -> [char; 128] {
    let bytes = text.as_bytes();
    let mut characters = ['\0'; 128];
    let (mut place, mut index) = (0, 0);
    while place < bytes.len() {
        let (length, mut number) = match bytes[place] {
            byte @ 0..0x80 => (1, byte as u32),
            byte @ 0x80..0xe0 => (2, byte as u32 & 0x1f),
            byte => (3, byte as u32 & 0x0f),
        };
        let mut next = 1;
        while next < length {
            number = number << 6 | bytes[place + next] as u32 & 0x3f;
            next += 1;
        }
        characters[index] = char::from_u32(number).expect("the text is UTF-8");
        place += length;
        index += 1;
    }
    assert!(index == 128, "half of a code page");
    characters
}

/// The code page of an SQL collation, by its sort order.
fn of_sort_order(order: u8) -> u16 {
    match order {
        30..=35 => 437,
        40..=49 | 55..=61 => 850,
        80..=99 => 1250,
        104..=108 => 1251,
        112..=124 => 1253,
        128..=130 => 1254,
        136..=138 => 1255,
        144..=146 => 1256,
        152..=160 => 1257,
        192 | 193 | 200 => 932,
        194 | 195 | 201 => 949,
        196 | 197 | 202 => 950,
        198 | 199 | 203 => 936,
        204..=206 => 874,
        _ => 1252,
    }
}

/// The ANSI code page of a locale; 0 for languages that only Unicode can write.
fn of_locale(locale: u32) -> u16 {
    /// The lower 10 bits of a locale are its language.
    const LANGUAGE: u32 = 0x3ff;
    match locale {
        0x0804 | 0x1004 => return 936,
        // Cyrillic where the language has two scripts: Azeri, Serbian, Bosnian, Uzbek.
        0x082c | 0x0c1a | 0x1c1a | 0x201a | 0x0843 => return 1251,
        _ => {}
    }
    match locale & LANGUAGE {
        0x04 => 950,
        0x11 => 932,
        0x12 => 949,
        0x1e => 874,
        0x2a => 1258,
        // Czech, Hungarian, Polish, Romanian, Croatian, Slovak, Albanian, Slovenian, Turkmen
        0x05 | 0x0e | 0x15 | 0x18 | 0x1a | 0x1b | 0x1c | 0x24 | 0x42 => 1250,
        // Bulgarian, Russian, Ukrainian, Belarusian, Macedonian, Kazakh, Kyrgyz, Tatar, Mongolian,
        // Bashkir, Yakut
        0x02 | 0x19 | 0x22 | 0x23 | 0x2f | 0x3f | 0x40 | 0x44 | 0x50 | 0x6d | 0x85 => 1251,
        0x08 => 1253,
        // Turkish, Azeri, Uzbek
        0x1f | 0x2c | 0x43 => 1254,
        0x0d => 1255,
        // Arabic, Urdu, Persian, Uighur, Dari
        0x01 | 0x20 | 0x29 | 0x80 | 0x8c => 1256,
        // Estonian, Latvian, Lithuanian
        0x25..=0x27 => 1257,
        // Armenian, Georgian, Hindi, Maltese, Bengali ... Assamese, Tibetan, Khmer, Lao, Syriac,
        // Nepali, Pashto, Divehi, Maori
        0x2b | 0x37 | 0x39 | 0x3a | 0x45..=0x4f | 0x51 | 0x53 | 0x54 | 0x5a | 0x61 | 0x63 | 0x65 | 0x81 => 0,
        _ => 1252,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(code_page: CodePage, bytes: &[u8]) -> Option<String> {
        let mut text = Vec::new();
        code_page.append(&mut text, bytes).then(|| String::from_utf8(text).expect("UTF-8"))
    }

    #[test]
    fn the_collation_decides_the_code_page() {
        for (info, sort_order, number) in [
            // Latin1_General_CI_AS, SQL_Latin1_General_CP1_CI_AS
            (0x00d0_0409, 0, 1252),
            (0x00d0_0409, 52, 1252),
            (0x0000_0409, 30, 437),
            (0x0000_0409, 42, 850),
            (0x0000_0419, 0, 1251),
            (0x0000_0408, 0, 1253),
            (0x0000_041f, 0, 1254),
            (0x0000_040d, 0, 1255),
            (0x0000_0401, 0, 1256),
            (0x0000_0427, 0, 1257),
            (0x0000_042a, 0, 1258),
            (0x0000_041e, 0, 874),
            (0x0000_0415, 0, 1250),
            // Japanese, Chinese of Taiwan and of the mainland, by radical and stroke too; Korean
            (0x0004_0411, 0, 932),
            (0x0003_0404, 0, 950),
            (0x0002_0804, 0, 936),
            (0x0000_0412, 0, 949),
            (0x0000_0c1a, 0, 1251),
            (0x0000_081a, 0, 1250),
        ] {
            assert_eq!(CodePage::of(info, sort_order), CodePage::numbered(number), "{info:08x} {sort_order}");
        }
        assert_eq!(CodePage::of(0x00d0_0409 | UTF8_FLAG, 0), CodePage::Utf8);
        // Hindi
        assert_eq!(CodePage::of(0x0000_0439, 0), CodePage::Unknown);
    }

    #[test]
    fn one_text_of_each_code_page() {
        for (number, bytes, text) in [
            (437, &b"\x81\x9b\xe1\xe3"[..], "ü¢ßπ"),
            (850, b"\x81\x9b\xe1\xd5", "üøßı"),
            (874, b"\xa1\xe0\x80", "กเ€"),
            (932, b"\x93\xfa\x96{\xb1", "日本ｱ"),
            (936, b"\xd6\xd0\xb9\xfa\x80", "中国€"),
            (949, b"\xc7\xd1\xb1\xdb", "한글"),
            (950, b"\xa4\xa4\xa4\xe5", "中文"),
            (1250, b"\xb3\x9c\x80", "łś€"),
            (1251, b"\xef\xf0\xe8", "при"),
            (1252, b"\xe4\x80\x92\x81", "ä€’\u{81}"),
            (1253, b"\xe1\xe2", "αβ"),
            (1254, b"\xfe\xdd", "şİ"),
            (1255, b"\xf9\xec", "של"),
            (1256, b"\xe3\xd1", "مر"),
            (1257, b"\xeb\xfb", "ėū"),
            (1258, b"\xfe\xd0", "₫Đ"),
        ] {
            assert_eq!(decoded(CodePage::numbered(number), bytes).as_deref(), Some(text), "{number}");
        }
    }

    #[test]
    fn a_broken_text_is_refused_and_never_replaced() {
        assert_eq!(decoded(CodePage::numbered(932), b"a\x81"), None);
        assert_eq!(decoded(CodePage::Unknown, b"\xe4"), None);
        assert_eq!(decoded(CodePage::Unknown, b"ascii").as_deref(), Some("ascii"));
    }

    #[test]
    fn chinese_of_taiwan_is_not_that_of_hong_kong() {
        let taiwan = CodePage::numbered(950);
        // The last characters before and the first ones after every range that is refused.
        for (bytes, text) in [
            (&b"\xa1\x40"[..], "\u{3000}"),
            (b"\xa3\xbf", "\u{2cb}"),
            (b"\xa3\xe1", "€"),
            (b"\xc6\x7e", "籲"),
            (b"\xc9\x40", "乂"),
            (b"\xf9\xfd", "╯"),
        ] {
            assert_eq!(decoded(taiwan, bytes).as_deref(), Some(text), "{bytes:x?}");
        }
        for bytes in [
            &b"\x87\x40"[..],
            b"\x81\x40",
            b"\xa0\x53",
            b"\xa3\xc0",
            b"\xa3\xe0",
            b"\xc6\xa1",
            b"\xc8\xfe",
            b"\xf9\xfe",
            b"\xfa\x40",
            b"\xfe\xfe",
            b"\xa4\xa4a\xfa\x40",
        ] {
            assert_eq!(decoded(taiwan, bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn chinese_of_the_mainland_has_no_characters_of_four_bytes() {
        let mainland = CodePage::numbered(936);
        // A range of a user's own is kept as what it is: private.
        assert_eq!(decoded(mainland, b"\xaa\xa1\x80\x80a1").as_deref(), Some("\u{e000}€€a1"));
        for bytes in [&b"\x81\x30\x81\x30"[..], b"\xd6\xd0\x84\x31\xa4\x37"] {
            assert_eq!(decoded(mainland, bytes), None, "{bytes:x?}");
        }
        assert_eq!(decoded(CodePage::numbered(932), b"\xf0\x40").as_deref(), Some("\u{e000}"));
    }

    #[test]
    fn a_text_is_appended_to_what_is_there_and_takes_no_room_beside_it() {
        for number in [437, 936, 950, 1252] {
            let code_page = CodePage::numbered(number);
            let mut text = Vec::with_capacity(64);
            text.extend_from_slice(b"before ");
            let place = text.as_ptr();
            assert!(code_page.append(&mut text, b"a\xb1\xa4"), "{number}");
            assert!(text.starts_with(b"before a") && text.len() > 8, "{number}");
            assert_eq!(text.as_ptr(), place, "{number}");
        }
    }

    #[test]
    fn code_pages_of_dos_have_their_first_and_last_character() {
        for upper_half in [&DOS_437, &DOS_850] {
            assert_eq!((upper_half[0], upper_half[127]), ('Ç', '\u{a0}'));
        }
    }
}

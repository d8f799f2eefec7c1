//! Wasm modules written by hand, for what no actor of the devnet does.

/// What [`emitter`] emits: one entry with this key and value, indexed, as raw bytes.
pub const EVENT: (&str, &[u8]) = ("hello", b"world");

/// A module whose every method emits [`EVENT`], and which returns nothing.
pub fn emitter() -> Vec<u8> {
    let (key, value) = EVENT;
    // The entry as in fvm_shared::sys::EventEntry: flags, codec, length of key, length of value; then both.
    let mut data = Vec::new();
    data.extend(3u64.to_le_bytes());
    data.extend(0x55u64.to_le_bytes());
    data.extend((key.len() as u32).to_le_bytes());
    data.extend((value.len() as u32).to_le_bytes());
    data.extend(key.as_bytes());
    data.extend(value);

    let i32_const = |n: usize| [0x41, u8::try_from(n).unwrap()];
    let mut body = vec![0];
    // emit_event(entries 0, one of them, key at 24, value behind it)
    for argument in [0, 1, 24, key.len(), 24 + key.len(), value.len()] {
        body.extend(i32_const(argument));
    }
    // Its result is an error number; drop it. Then return 0: no data.
    body.extend([0x10, 0, 0x1a, 0x41, 0, 0x0b]);

    let mut code = vec![1, u8::try_from(body.len()).unwrap()];
    code.extend(body);
    let mut segment = vec![1, 0, 0x41, 0, 0x0b, u8::try_from(data.len()).unwrap()];
    segment.extend(data);
    module(&[
        // The type of emit_event, and that of invoke.
        (1, &[2, 0x60, 6, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f, 0x60, 1, 0x7f, 1, 0x7f]),
        (2, b"\x01\x05event\x0aemit_event\0\0"),
        (3, &[1, 1]),
        (5, &[1, 0, 1]),
        (7, b"\x02\x06memory\x02\0\x06invoke\0\x01"),
        (10, &code),
        (11, &segment),
    ])
}

/// The idle module with a custom section of so many bytes: larger, and with another code CID.
pub fn padded_idle(bytes: usize) -> Vec<u8> {
    let mut wasm = bucket_devnet::IDLE.to_vec();
    wasm.push(0);
    leb128(&mut wasm, bytes + 2);
    wasm.extend([1, b'x']);
    wasm.extend(std::iter::repeat_n(0, bytes));
    wasm
}

fn module(sections: &[(u8, &[u8])]) -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    for (number, content) in sections {
        wasm.push(*number);
        leb128(&mut wasm, content.len());
        wasm.extend(*content);
    }
    wasm
}

fn leb128(wasm: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        wasm.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    wasm.push(n as u8);
}

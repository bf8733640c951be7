use super::*;

fn noise(byte: u8) -> NoiseOutput {
    NoiseOutput { split: (Secret32([byte; 32]), Secret32([byte + 1; 32])), hash: [byte + 2; 32] }
}

fn sealed(master: &Master, cipher: Cipher, number: u64, frames: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; frames.len() + SEALED_OVERHEAD];
    datagram[HEADER_LEN..HEADER_LEN + frames.len()].copy_from_slice(frames);
    let mut key = master.seal_key(Direction::ClientToServer, cipher, 3);
    let len = key.seal(ReceiverIndex(0x0102_0304), number, &mut datagram, frames.len()).unwrap();
    assert_eq!(len, datagram.len());
    datagram
}

#[test]
fn what_one_end_seals_the_other_opens() {
    let master = Master::first(&noise(1));
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let mut datagram = sealed(&master, cipher, (1 << 32) + 7, b"frames");
        assert_eq!(Header::decode(&datagram).unwrap().counter_low, 7);
        let mut key = master.open_key(Direction::ClientToServer, cipher, 3);
        assert_eq!(key.open((1 << 32) + 7, &mut datagram).as_deref(), Some(&b"frames"[..]));
    }
}

#[test]
fn a_datagram_opens_only_with_its_own_link_direction_number_and_epoch() {
    let master = Master::first(&noise(1));
    let original = sealed(&master, Cipher::Aes256Gcm, 9, b"frames");
    let mut wrong = [
        (master.open_key(Direction::ServerToClient, Cipher::Aes256Gcm, 3), 9),
        (master.open_key(Direction::ClientToServer, Cipher::Aes256Gcm, 4), 9),
        (master.open_key(Direction::ClientToServer, Cipher::ChaCha20Poly1305, 3), 9),
        (master.open_key(Direction::ClientToServer, Cipher::Aes256Gcm, 3), 9 + (1 << 32)),
        (master.next(&noise(1)).open_key(Direction::ClientToServer, Cipher::Aes256Gcm, 3), 9),
        (Master::first(&noise(2)).open_key(Direction::ClientToServer, Cipher::Aes256Gcm, 3), 9),
    ];
    for (key, number) in &mut wrong {
        assert_eq!(key.open(*number, &mut original.clone()), None);
        assert_eq!(key.forged(), 1);
    }
}

#[test]
fn a_flipped_bit_anywhere_spoils_the_datagram() {
    let master = Master::first(&noise(1));
    let original = sealed(&master, Cipher::ChaCha20Poly1305, 0, b"frames");
    let mut key = master.open_key(Direction::ClientToServer, Cipher::ChaCha20Poly1305, 3);
    for bit in 0..original.len() * 8 {
        let mut datagram = original.clone();
        datagram[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key.open(0, &mut datagram), None, "bit {bit}");
    }
}

#[test]
fn a_key_that_is_used_up_seals_no_more() {
    let mut key = Master::first(&noise(1)).seal_key(Direction::ClientToServer, Cipher::Aes256Gcm, 0);
    key.sealed = MAX_SEALED;
    assert_eq!(key.seal(ReceiverIndex(0), 0, &mut [0; 64], 8), Err(SealError::UsedUp));
}

#[test]
fn a_buffer_without_room_for_the_tag_is_refused() {
    let mut key = Master::first(&noise(1)).seal_key(Direction::ClientToServer, Cipher::Aes256Gcm, 0);
    assert_eq!(key.seal(ReceiverIndex(0), 0, &mut [0; 32], 8), Err(SealError::NoRoom));
    assert_eq!(key.sealed(), 0);
}

#[test]
fn an_epoch_depends_on_the_one_before() {
    let fresh = noise(9);
    let (a, b) = (Master::first(&noise(1)).next(&fresh), Master::first(&noise(2)).next(&fresh));
    assert_ne!(a.secret.0, b.secret.0);
    assert_eq!((a.epoch(), a.next(&fresh).epoch()), (1, 2));
}

//! One end of a `bond/1` handshake on standard input and output, for known-answer tests against an independent peer.
//!
//! ```text
//! bond_peer server named PRIVATE PSK | server shared SECRET
//! bond_peer client named PRIVATE SERVER_PUBLIC PSK | client shared SECRET
//! ```
//! Everything is hex, one command a line, one answer a line: `ok VALUE`, or `error TEXT`.
//! The randomness is fixed, so this is of no use for anything but tests.

use std::io::{BufRead, Write};
use std::net::SocketAddr;

use ratbond_proto::Time;
use ratbond_proto::bond::datagram::{HEADER_LEN, Header, ReceiverIndex, SEALED_OVERHEAD};
use ratbond_proto::bond::frame::tlv::{FieldWriter, field};
use ratbond_proto::bond::handshake::client::{ClientHandshake, Established};
use ratbond_proto::bond::handshake::join::{Join, JoinVerdict};
use ratbond_proto::bond::handshake::rekey::{self, RekeyOffer};
use ratbond_proto::bond::handshake::server::{ClientId, ServerHandshakes, Verdict};
use ratbond_proto::bond::handshake::{Credentials, ServerKeys, shared_psk};
use ratbond_proto::bond::kdf::{self, MacKey};
use ratbond_proto::bond::keys::{Cipher, Direction, Master};
use ratbond_proto::bond::secret::Secret32;

type Answer = Result<String, Box<dyn std::error::Error>>;

const OWN_INDEX: ReceiverIndex = ReceiverIndex(0x0800_0042);

enum Role {
    Server { handshakes: Box<ServerHandshakes>, keys: ServerKeys, psk: Secret32, client: Option<[u8; 32]> },
    Client { handshake: Box<ClientHandshake>, credentials: Credentials, offer: Option<RekeyOffer> },
}

struct Peer {
    role: Role,
    session: Option<Established>,
    next: Option<Master>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut peer = match Peer::new(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(peer) => peer,
        Err(error) => {
            eprintln!("bond_peer: {error}");
            std::process::exit(2);
        }
    };
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let written = match peer.command(&words) {
            Ok(value) => writeln!(out, "ok {value}"),
            Err(error) => writeln!(out, "error {error}"),
        };
        if written.and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

impl Peer {
    fn new(args: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let seed = Secret32([0x55; 32]);
        let role = match *args {
            ["server", "named", own, psk] => {
                Role::server(ServerKeys::Named { own: secret(own)? }, secret(psk)?)
            }
            ["server", "shared", key] => {
                Role::server(ServerKeys::Shared { psk: shared_psk(&secret(key)?) }, Secret32([0; 32]))
            }
            ["client", "named", own, server, psk] => {
                let (own, server, psk) = (secret(own)?, secret(server)?.0, secret(psk)?);
                Role::client(Credentials::Named { own, server, psk }, &seed)
            }
            ["client", "shared", key] => {
                Role::client(Credentials::Shared { psk: shared_psk(&secret(key)?) }, &seed)
            }
            _ => return Err("usage: see the head of bond_peer.rs".into()),
        };
        Ok(Self { role, session: None, next: None })
    }

    fn command(&mut self, words: &[&str]) -> Answer {
        match *words {
            ["start"] => self.start(),
            ["in", datagram] => self.datagram(&bytes(datagram)?),
            ["seal", direction, link, number, frames] => {
                self.seal(direction, link.parse()?, number.parse()?, &bytes(frames)?)
            }
            ["open", direction, link, number, datagram] => {
                self.open(direction, link.parse()?, number.parse()?, bytes(datagram)?)
            }
            ["join", link] => self.join(link.parse()?),
            ["joined", join, answer] => self.joined(&bytes(join)?, &bytes(answer)?),
            ["offer"] => self.offer(),
            ["answer", epoch, offer] => self.answer(epoch.parse()?, &bytes(offer)?),
            ["finish", epoch, answer] => self.finish(epoch.parse()?, &bytes(answer)?),
            ["switch"] => self.switch(),
            ["extract", salt, ikm] => Ok(hex(&kdf::extract(&bytes(salt)?, &[&bytes(ikm)?]).0)),
            ["expand", key, label, info, len] => {
                let mut out = vec![0; len.parse()?];
                kdf::expand(&secret(key)?, label, &bytes(info)?, &mut out);
                Ok(hex(&out))
            }
            ["mac", key, text] => Ok(hex(&MacKey::new(&secret(key)?).tag(&[&bytes(text)?]))),
            _ => Err("unknown command".into()),
        }
    }

    fn start(&mut self) -> Answer {
        let Role::Client { handshake, .. } = &mut self.role else { return Err("not a client".into()) };
        Ok(hex(handshake.poll_transmit(Time::ZERO).ok_or("nothing to send")?))
    }

    fn datagram(&mut self, datagram: &[u8]) -> Answer {
        match &mut self.role {
            Role::Client { handshake, .. } => {
                if let Some(established) = handshake.handle(Time::ZERO, datagram)? {
                    let fields = hex(&established.fields);
                    self.session = Some(established);
                    return Ok(fields);
                }
                Ok(hex(handshake.poll_transmit(Time::ZERO).ok_or("nothing to send")?))
            }
            Role::Server { handshakes, psk, client, .. } => {
                if let Ok(join) = Join::decode(datagram) {
                    let key = session(&self.session)?.master.join_key();
                    if !Join::verify(datagram, &key) {
                        return Err("wrong proof".into());
                    }
                    let own = ReceiverIndex(OWN_INDEX.0 + u32::from(join.link));
                    return Ok(hex(&JoinVerdict::Joined(own).encode(datagram, &key)));
                }
                let from: SocketAddr = "192.0.2.1:5000".parse()?;
                match handshakes.handle(Time::ZERO, from, datagram)? {
                    Verdict::Reply(reply) | Verdict::Refuse(reply, _) => Ok(hex(&reply)),
                    Verdict::Offer(offer) => {
                        if let ClientId::Named(key) = offer.client() {
                            *client = Some(key);
                        }
                        let cipher = offer.cipher(|_| true).ok_or("no common cipher")?;
                        let mut fields = FieldWriter::default();
                        fields.put(field::MTU, &1442u16.to_be_bytes());
                        let (answer, established) = offer.accept(OWN_INDEX, cipher, psk, &fields)?;
                        self.session = Some(established);
                        Ok(hex(&answer.datagram))
                    }
                }
            }
        }
    }

    fn seal(&mut self, towards: &str, link: u16, number: u64, frames: &[u8]) -> Answer {
        let session = session(&self.session)?;
        let mut datagram = vec![0; frames.len() + SEALED_OVERHEAD];
        datagram[HEADER_LEN..HEADER_LEN + frames.len()].copy_from_slice(frames);
        let mut key = session.master.seal_key(direction(towards)?, session.cipher, link);
        key.seal(session.peer, number, &mut datagram, frames.len())?;
        Ok(hex(&datagram))
    }

    fn open(&mut self, towards: &str, link: u16, expected: u64, mut datagram: Vec<u8>) -> Answer {
        let session = session(&self.session)?;
        let number = Header::decode(&datagram)?.number(expected);
        let mut key = session.master.open_key(direction(towards)?, session.cipher, link);
        let frames = key.open(number, &mut datagram).ok_or("does not open")?;
        Ok(hex(frames))
    }

    fn join(&mut self, link: u16) -> Answer {
        let session = session(&self.session)?;
        let join =
            Join { session: session.peer, epoch: session.master.epoch(), link, sender: ReceiverIndex(0x77) };
        Ok(hex(&join.encode(&session.master.join_key())))
    }

    fn joined(&mut self, join: &[u8], answer: &[u8]) -> Answer {
        let key = session(&self.session)?.master.join_key();
        match JoinVerdict::decode(answer, join, &key)? {
            JoinVerdict::Joined(index) => Ok(format!("{:08x}", index.0)),
            other => Err(format!("{other:?}").into()),
        }
    }

    fn offer(&mut self) -> Answer {
        let Role::Client { credentials, offer, .. } = &mut self.role else {
            return Err("not a client".into());
        };
        let made = RekeyOffer::new(&session(&self.session)?.master, credentials, &Secret32([0x66; 32]))?;
        let (epoch, message) = made.frame();
        let line = format!("{epoch} {}", hex(message));
        *offer = Some(made);
        Ok(line)
    }

    fn answer(&mut self, epoch: u8, offer: &[u8]) -> Answer {
        let Role::Server { keys, psk, client, .. } = &self.role else { return Err("not a server".into()) };
        let master = &session(&self.session)?.master;
        let seed = Secret32([0x67; 32]);
        let (message, next) = rekey::answer(master, keys, client.as_ref(), psk, (epoch, offer), &seed)?;
        self.next = Some(next);
        Ok(hex(&message))
    }

    fn finish(&mut self, epoch: u8, answer: &[u8]) -> Answer {
        let Role::Client { offer, .. } = &mut self.role else { return Err("not a client".into()) };
        let offer = offer.take().ok_or("no offer")?;
        self.next = Some(offer.finish(&session(&self.session)?.master, epoch, answer)?);
        Ok(String::new())
    }

    fn switch(&mut self) -> Answer {
        let next = self.next.take().ok_or("no next epoch")?;
        self.session.as_mut().ok_or("no session")?.master = next;
        Ok(String::new())
    }
}

impl Role {
    fn server(keys: ServerKeys, psk: Secret32) -> Self {
        let handshakes = ServerHandshakes::new(keys.clone(), Secret32([0x33; 32]), Secret32([0x44; 32]), 1);
        Self::Server { handshakes: Box::new(handshakes), keys, psk, client: None }
    }

    fn client(credentials: Credentials, seed: &Secret32) -> Self {
        let mut fields = FieldWriter::default();
        fields.put(field::CIPHERS, &[Cipher::Aes256Gcm.to_wire(), Cipher::ChaCha20Poly1305.to_wire()]);
        let steer = ReceiverIndex(0x1122_3344);
        let payload = fields.as_slice().to_vec();
        let handshake = ClientHandshake::new(Time::ZERO, credentials.clone(), payload, steer, seed);
        Self::Client { handshake: Box::new(handshake), credentials, offer: None }
    }
}

fn session(session: &Option<Established>) -> Result<&Established, &'static str> {
    session.as_ref().ok_or("no session")
}

fn direction(word: &str) -> Result<Direction, &'static str> {
    match word {
        "to-server" => Ok(Direction::ClientToServer),
        "to-client" => Ok(Direction::ServerToClient),
        _ => Err("direction is to-server or to-client"),
    }
}

fn secret(hex: &str) -> Result<Secret32, Box<dyn std::error::Error>> {
    Ok(Secret32(bytes(hex)?.try_into().map_err(|_| "a key has 32 bytes")?))
}

fn bytes(hex: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return Err("not hex".into());
    }
    (0..hex.len()).step_by(2).map(|at| Ok(u8::from_str_radix(&hex[at..at + 2], 16)?)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

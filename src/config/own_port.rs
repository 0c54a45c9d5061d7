//! Programs that would open a socket which they are given: their command line names the same port or path.
//!
//! It cannot be known what an argument means, so only those count that look like an address, and it is a warning.

use super::Listen;
use super::address::ListenAddress;
use super::draft::ServiceDraft;
use super::fault::{Fault, Place};
use super::message::Code;
use super::words;

/// Options whose next word is a port, or an address.
const OPTIONS: &str = "-p -P -l -b -a --port --listen --bind --address";

/// The warning about the first socket that the command line of a service with Accept=no names.
pub(super) fn fault(service: &ServiceDraft, place: Place) -> Option<Fault> {
    let arguments = &service.command()?.arguments;
    let named = |listen: &&Listen| {
        let pairs = arguments.iter().zip(arguments.iter().skip(1));
        pairs.into_iter().any(|(before, word)| match &listen.address {
            ListenAddress::Local(path) if listen.address.is_path() => names(word, path, true),
            ListenAddress::Inet { port, .. } => names(word, port, words::index(OPTIONS, before).is_some()),
            _ => false,
        })
    };
    let listen = service.listens.iter().find(named)?;
    let fault = Fault::new(Code::OwnPort, place, &[&service.name, &listen.address.text()]);
    Some(fault.with_other(listen.place))
}

/// `ADDRESS:80`, `--port=80`, `-p80`; `80` alone where it is `plain`.
fn names(word: &str, port: &str, plain: bool) -> bool {
    let Some(before) = word.strip_suffix(port) else { return false };
    matches!(before.as_bytes().last(), Some(b':' | b'=')) || before == "-p" || before.is_empty() && plain
}

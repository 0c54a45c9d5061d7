//! xinetd.conf(5): blocks of attributes become services.
//!
//! A service that xinetd would drop is dropped here too, with a warning, and the rest is kept; so is a service that
//! dormouse can't carry out as it is meant. Single attributes that mean nothing here are warned about by name.

mod access;
mod entry;

use std::path::Path;

use rustix::fs::FileType;

use super::draft::Draft;
use super::fault::{Fault, Place, count, tell};
use super::files;
use super::lex::{self, Line};
use super::message::Code;
use super::words;
use crate::sys::file;

/// The folder whose files are all xinetd's.
pub(super) const FOLDER: &str = "xinetd.d";
/// Files within files, and files that are included at all. More: a fault instead of the file.
const DEPTH: usize = 8;
const INCLUDED: usize = 512;
/// Attributes that hold several values, which `+=` and `-=` change.
const SETS: &str = "only_from no_access passenv env log_on_success log_on_failure disabled enabled flags type";
/// Attributes that hold for the services after `defaults`. xinetd passes over others that stand there.
const DEFAULTS: &str = "bind interface v6only instances per_source cps max_load only_from no_access passenv umask groups \
    log_type log_on_success log_on_failure banner banner_success banner_fail disabled enabled";

/// Reads files of xinetd. Services are made at the end, when all defaults are known.
#[derive(Debug, Default)]
pub(super) struct Reader {
    defaults: Vec<Attribute>,
    services: Vec<Block>,
    /// The block that has begun; that of the defaults has no name.
    open: Option<Block>,
    /// Its `{` was there.
    inside: bool,
    /// Number of files that were included.
    included: usize,
}

/// A service as its block describes it.
#[derive(Debug, Default)]
struct Block {
    name: String,
    place: Place,
    attributes: Vec<Attribute>,
    /// Why it can't be used, when a line of it is broken.
    broken: bool,
}

impl Block {
    fn is_service(&self) -> bool {
        !self.name.is_empty()
    }
}

/// One line of a block.
#[derive(Debug, Clone)]
struct Attribute {
    name: String,
    operator: Operator,
    values: Vec<String>,
    /// The values, or the name without any.
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Set,
    Add,
    Remove,
}

impl Operator {
    /// Adds values to a set, or takes them out of it.
    fn change(self, set: &mut Vec<String>, values: Vec<String>) {
        match self {
            Self::Remove => set.retain(|value| !values.contains(value)),
            Self::Set | Self::Add => set.extend(values),
        }
    }
}

impl Reader {
    /// Reads a text that is kept as `file`; `path` is where relative names begin.
    pub(super) fn read(&mut self, draft: &mut Draft, file: u32, text: &str, path: &Path, depth: usize) {
        draft.tolerant.push(file);
        lex::carriage_return(draft, file, text);
        for (number, raw) in lex::physical(text) {
            let line = Line::single(raw, number);
            if !line.text.is_empty() && !line.text.starts_with('#') {
                self.line(draft, file, &line, path, depth);
            }
        }
        if self.open.take().is_some() {
            tell(&mut draft.faults, Code::XinetdOpen, Place::line(file, count(text.split('\n').count())), &[]);
        }
    }

    fn line(&mut self, draft: &mut Draft, file: u32, line: &Line, path: &Path, depth: usize) {
        let words: Vec<&str> = words::plain(&line.text).map(|at| &line.text[at]).collect();
        let place = line.place(file, 0..line.text.len());
        match (&mut self.open, &words[..]) {
            (None, ["service", name]) => self.begin((*name).to_owned(), place),
            (None, ["defaults"]) => self.begin(String::new(), place),
            (None, ["include", name]) => self.include(draft, place, &path.join(name), depth),
            (None, ["includedir", name]) => self.folder(draft, place, &path.join(name), depth),
            (Some(_), ["{"]) if !self.inside => self.inside = true,
            (Some(_), ["}"]) if self.inside => self.services.extend(self.open.take().filter(Block::is_service)),
            (Some(block), _) if self.inside => match attribute(file, line, &words) {
                Some(attribute) if block.is_service() => keep(&mut block.attributes, attribute, draft),
                Some(attribute) => keep(&mut self.defaults, attribute, draft),
                None => {
                    tell(&mut draft.faults, Code::XinetdLine, place, &[]);
                    block.broken = true;
                }
            },
            _ => {
                tell(&mut draft.faults, Code::XinetdOutside, place, &[]);
                self.open = None;
            }
        }
    }

    fn begin(&mut self, name: String, place: Place) {
        self.open = Some(Block { name, place, ..Block::default() });
        self.inside = false;
    }

    fn include(&mut self, draft: &mut Draft, place: Place, path: &Path, depth: usize) {
        self.included += 1;
        if depth >= DEPTH || self.included > INCLUDED {
            let most = [DEPTH.to_string(), INCLUDED.to_string()];
            return tell(&mut draft.faults, Code::XinetdDepth, place, &[&most[0], &most[1]]);
        }
        if let Some((file, text)) = files::load(draft, path) {
            self.read(draft, file, &text, file::above(path), depth + 1);
        }
    }

    /// The files of a folder in the order of their names, without those that have a dot or end in `~`.
    fn folder(&mut self, draft: &mut Draft, place: Place, path: &Path, depth: usize) {
        match file::sorted(path, &is_included) {
            Ok(files) => files.iter().for_each(|path| self.include(draft, place, path, depth)),
            Err(_) => tell(&mut draft.faults, Code::XinetdFolder, place, &[&path.to_string_lossy()]),
        }
    }

    /// All files are read: makes the services.
    pub(super) fn finish(mut self, draft: &mut Draft) {
        self.defaults.retain(|attribute| {
            let holds = words::index(DEFAULTS, &attribute.name).is_some();
            let lost = || Fault::new(Code::XinetdLost, attribute.place, &[&[&attribute.name, " in defaults"].concat()]);
            draft.faults.extend(entry::told(attribute).or_else(|| (!holds).then(lost)));
            holds
        });
        for block in &self.services {
            entry::add(draft, block, &self.defaults);
        }
    }
}

/// Whether includedir takes a file by its name.
pub(super) fn is_included(path: &Path) -> bool {
    let name = file::name(path).as_encoded_bytes();
    !name.contains(&b'.') && !name.ends_with(b"~") && file::kind(path) == Some(FileType::RegularFile)
}

/// `name operator values`; `None`: it is nothing like that.
fn attribute(file: u32, line: &Line, words: &[&str]) -> Option<Attribute> {
    let [name, operator, values @ ..] = words else { return None };
    let name = name.to_ascii_lowercase();
    let operator = match *operator {
        "=" => Operator::Set,
        "+=" => Operator::Add,
        "-=" => Operator::Remove,
        _ => return None,
    };
    if operator != Operator::Set && !is_set(&name) {
        return None;
    }
    let at: Vec<_> = words::plain(&line.text).collect();
    let first = at.get(2).or(at.first())?.start;
    let last = if values.is_empty() { at.first()?.end } else { at.last()?.end };
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Some(Attribute { name, operator, values, place: line.place(file, first..last) })
}

/// Whether an attribute holds several values.
fn is_set(name: &str) -> bool {
    words::index(SETS, name).is_some()
}

/// Adds an attribute to a block. The first of several stays, unless it is a set.
fn keep(attributes: &mut Vec<Attribute>, new: Attribute, draft: &mut Draft) {
    match attributes.iter_mut().find(|known| known.name == new.name) {
        Some(known) if is_set(&new.name) => new.operator.change(&mut known.values, new.values),
        Some(known) => {
            let fault = Fault::new(Code::XinetdTwice, new.place, &[&new.name]);
            draft.faults.push(fault.with_other(known.place));
        }
        None => attributes.push(new),
    }
}

//! Opening a packed file.

use super::{
    Checksums, Layout, PREAMBLE_BYTES, Preamble, check,
    header::{DAMAGED, Header, Section, sha256_hex},
    preamble::MAGIC,
    sections,
};
use crate::{Error, ModelIndex, Result, read::Files};
use lampyris_import::saved::TextTools;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// A packed file whose header was read and checked.
#[derive(Clone, Debug)]
pub struct Packed {
    path: PathBuf,
    pub(super) header: Header,
    pub(super) preamble: Preamble,
}

/// Whether the file at `path` begins as packed files do.
pub fn is_packed(path: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == MAGIC
}

impl Packed {
    /// Opens a packed file: reads and checks preamble and header, nothing else.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Container`] naming what contradicts what.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let files = Files::open(&[path.to_owned()])?;
        let file_bytes = files.bytes(0)?;
        if file_bytes < PREAMBLE_BYTES as u64 {
            let problem = format!("{file_bytes} bytes are too few for a packed file");
            return Err(Error::container(path, problem, DAMAGED));
        }
        let mut data = [0; PREAMBLE_BYTES];
        files.read(0, 0, &mut data, "preamble")?;
        let preamble = Preamble::parse(path, &data, file_bytes)?;
        let json = files.read_vec(0, preamble.header_offset, preamble.header_bytes, "header")?;
        if sha256_hex(&json) != super::header::hex(&preamble.header_sha256) {
            let problem = "the header does not have the SHA-256 that the preamble gives";
            return Err(Error::container(path, problem.into(), DAMAGED));
        }
        let header: Header = serde_json::from_slice(&json).map_err(|err| {
            let hint = "pack the model again with this version of lampyris";
            Error::container(path, format!("the header cannot be used: {err}"), hint)
        })?;
        check::check(path, &header, &preamble)?;
        Ok(Self {
            path: path.to_owned(),
            header,
            preamble,
        })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.preamble.file_bytes
    }

    /// How FFNs lie in the file.
    pub fn layout(&self) -> Layout {
        self.header.layout
    }

    /// Where every weight lies. Reads the small vectors and checks them.
    ///
    /// # Errors
    /// [`Error::Section`] if the vectors are damaged, [`Error::Container`] if a value is
    /// impossible.
    pub fn index(&self) -> Result<ModelIndex> {
        super::index::index(self)
    }

    /// The checksums of all units.
    ///
    /// # Errors
    /// [`Error::Section`] if the table itself is damaged.
    pub fn checksums(&self) -> Result<Checksums> {
        let files = self.files()?;
        let table = &self.header.checksums;
        let bytes = files.read_vec(0, table.offset, table.bytes, "checksums")?;
        self.check_hash("checksums", &bytes, &table.sha256)?;
        Ok(Checksums::new(&self.path, &self.header, &bytes))
    }

    /// Tokenizer and chat template.
    ///
    /// # Errors
    /// [`Error::Section`] if the section is damaged; as [`TextTools::from_json`].
    pub fn text_tools(&self) -> Result<TextTools> {
        Ok(TextTools::from_json(&self.section(sections::TEXT)?)?)
    }

    /// The bytes of a small section, compared with its hash.
    pub(super) fn section(&self, name: &str) -> Result<Vec<u8>> {
        let section = self.find(name);
        let files = self.files()?;
        let bytes = files.read_vec(0, section.offset, section.bytes, name)?;
        self.check_hash(name, &bytes, &section.sha256)?;
        Ok(bytes)
    }

    /// The section called `name`, one that every file has.
    pub(super) fn find(&self, name: &str) -> &Section {
        let found = self.header.sections.iter().find(|s| s.name == name);
        found.expect("names of sections were checked when the file was opened")
    }

    pub(super) fn files(&self) -> Result<Files> {
        Files::open(std::slice::from_ref(&self.path))
    }

    fn check_hash(&self, name: &str, bytes: &[u8], expected: &str) -> Result<()> {
        if sha256_hex(bytes) == expected {
            return Ok(());
        }
        Err(Error::Section {
            path: self.path.clone(),
            section: name.into(),
        })
    }
}

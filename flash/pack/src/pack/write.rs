//! Writing a planned file: part file, journal, tail, rename.

use super::{
    bundle,
    journal::{Done, Journal, JournalError},
    plan::{Content, Plan},
    sink::{Sink, Sums},
};
use crate::{
    Error, Result,
    container::{
        PREAMBLE_BYTES, Preamble, SECTION_ALIGN, UnitCrc,
        header::{FfnEntry, Header, hex, sha256_hex},
        is_packed,
    },
    index::Ffn,
    read::{BUFFER, Files},
};
use lampyris_flash::TensorType;
use sha2::{Digest, Sha256};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Room that must stay beyond the forecast, for the header and the file system's own tables.
const SLACK: u64 = 16 << 20;

/// A packed file that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its length.
    pub bytes: u64,
    /// Sections in it.
    pub sections: usize,
    /// Sections that an earlier run had finished.
    pub resumed: usize,
    /// Down matrices that were re-quantized, layer by layer.
    pub requantized: Vec<Requantized>,
}

/// A matrix whose values changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantized {
    /// Its name: `blk.3.ffn_down`.
    pub tensor: String,
    /// Format in the source.
    pub from: TensorType,
    /// Format in the packed file.
    pub to: TensorType,
    /// RMS error relative to the source's RMS.
    pub relative_rms: f32,
}

impl Plan {
    /// Writes the file at `output`, which appears complete or not at all; `progress` gets bytes
    /// done and to do. Holds about 80 MiB, whatever the model.
    ///
    /// # Errors
    /// [`Error::Write`] leaves `output.part` and its journal, from which the next run continues;
    /// [`Error::NoRoom`], [`Error::Occupied`] and [`Error::Busy`] come before anything is written;
    /// [`Error::SourceChanged`]; [`Error::Read`].
    pub fn write(&self, output: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Report> {
        if output.exists() && !is_packed(output) {
            return Err(Error::Occupied(output.into()));
        }
        let part = beside(output, ".part");
        let total = self.forecast().bytes;
        let failed = |source| Error::Write {
            path: part.clone(),
            done: 0,
            total,
            source,
        };
        let journal = Journal::open(&beside(output, ".part.journal"), &self.identity, output);
        let journal = journal.map_err(|error| match error {
            JournalError::Ours(error) => error,
            JournalError::System(error) => failed(error),
        })?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&part);
        let mut writer = Writer {
            plan: self,
            sink: Sink::new(file.map_err(failed)?),
            part,
            total,
            complete: 0,
            sums: Vec::new(),
            journal,
            progress,
        };
        writer.resume()?;
        writer.check_room()?;
        let resumed = writer.sums.len();
        writer.sections()?;
        if let Err(error) = self.check_source() {
            // What was written is a mixture.
            let _ = std::fs::remove_file(&writer.part);
            let _ = writer.journal.remove();
            return Err(error);
        }
        let (bytes, header) = writer.finish(output)?;
        Ok(Report {
            bytes,
            sections: header.sections.len(),
            resumed,
            requantized: self.requantized(&header),
        })
    }

    fn requantized(&self, header: &Header) -> Vec<Requantized> {
        let layers = self.model.layers.iter().zip(&header.layers);
        let changed = layers.filter_map(|(source, target)| match (&source.ffn, &target.ffn) {
            (Ffn::Dense { down, .. }, FfnEntry::Bundled(b)) if b.down_error > 0.0 => {
                Some(Requantized {
                    tensor: down.weight.name.clone(),
                    from: down.weight.ty,
                    to: b.down.ty.0,
                    relative_rms: b.down_error,
                })
            }
            _ => None,
        });
        changed.collect()
    }
}

/// Bytes that are free where `path` lies or would lie; `None` if the system does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let stat = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// `output` with something after its name.
fn beside(output: &Path, suffix: &str) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

struct Writer<'a> {
    plan: &'a Plan,
    sink: Sink,
    part: PathBuf,
    total: u64,
    /// Bytes of the file up to the end of the last finished section.
    complete: u64,
    /// Hashes of the sections that are finished.
    sums: Vec<Sums>,
    journal: Journal,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Writer<'_> {
    fn failed(&self, source: io::Error) -> Error {
        Error::Write {
            path: self.part.clone(),
            done: self.complete,
            total: self.total,
            source,
        }
    }

    /// Reads what the last run finished; from the first section that does not have its hash on,
    /// all is written again.
    fn resume(&mut self) -> Result<()> {
        let part = Files::open(std::slice::from_ref(&self.part))?;
        let len = part.bytes(0)?;
        let mut buf = vec![0; BUFFER];
        for (section, done) in self.plan.header.sections.iter().zip(&self.journal.done) {
            let end = section.offset + section.bytes;
            if done.section != section.name || end > len {
                break;
            }
            // Between sections, and before the first, all must be zero.
            let mut clean = true;
            let gap = section.offset - self.complete;
            part.stream(
                0,
                self.complete,
                gap,
                "padding",
                &mut buf,
                &mut |_, data| {
                    clean &= data.iter().all(|&b| b == 0);
                    Ok::<(), Error>(())
                },
            )?;
            let mut hash = Sha256::new();
            let mut units = UnitCrc::new(section.grid);
            part.stream(
                0,
                section.offset,
                section.bytes,
                &section.name,
                &mut buf,
                &mut |at, data| {
                    hash.update(data);
                    units.update(data);
                    (self.progress)(at + data.len() as u64, self.total);
                    Ok::<(), Error>(())
                },
            )?;
            let sha256 = hex(&hash.finalize());
            if sha256 != done.sha256 || !clean {
                break;
            }
            self.complete = end;
            self.sums.push(Sums {
                sha256,
                units: units.finish(),
            });
        }
        let kept = self.sink.file().set_len(self.complete);
        let kept = kept.and_then(|()| self.journal.keep(self.sums.len(), &self.plan.identity));
        kept.map_err(|e| self.failed(e))
    }

    /// Compares what is still to be written with what is free. Holes of the source stay holes.
    fn check_room(&self) -> Result<()> {
        let Some(free) = free_bytes(&self.part) else {
            return Ok(());
        };
        let forecast = self.plan.forecast();
        let left = self.total - self.complete;
        let share = forecast.source_allocated as f64 / forecast.source_bytes.max(1) as f64;
        let needed = (left as f64 * share.min(1.0)) as u64 + SLACK;
        if needed <= free {
            return Ok(());
        }
        Err(Error::NoRoom {
            path: self.part.clone(),
            needed,
            free,
        })
    }

    /// Writes the sections that are not finished.
    fn sections(&mut self) -> Result<()> {
        for i in self.sums.len()..self.plan.header.sections.len() {
            let section = &self.plan.header.sections[i];
            let begun = self.sink.begin(section.offset, section.grid);
            begun.map_err(|e| self.failed(e))?;
            let down_error = self.content(i)?;
            debug_assert_eq!(self.sink.at(), section.offset + section.bytes);
            let sums = self.sink.finish(section.grid);
            let sums = sums.map_err(|e| self.failed(e))?;
            let done = Done {
                section: section.name.clone(),
                sha256: sums.sha256.clone(),
                down_error,
            };
            self.complete = self.sink.at();
            self.journal.push(done).map_err(|e| self.failed(e))?;
            self.sums.push(sums);
        }
        Ok(())
    }

    fn put(&mut self, data: &[u8]) -> Result<()> {
        self.sink.write(data).map_err(|e| self.failed(e))?;
        (self.progress)(self.sink.at(), self.total);
        Ok(())
    }

    /// Fills section `i`; the error of a down matrix in it.
    fn content(&mut self, i: usize) -> Result<f32> {
        let plan = self.plan;
        match &plan.contents[i] {
            Content::Bytes(bytes) => self.put(bytes)?,
            Content::Copies(copies) => {
                let mut buf = vec![0; BUFFER];
                let files = Files::open(&plan.model.files)?;
                for (from, to) in copies {
                    self.sink.pad_to(*to).map_err(|e| self.failed(e))?;
                    let (offset, bytes) = (from.offset, from.bytes());
                    files.stream(
                        from.file,
                        offset,
                        bytes,
                        &from.name,
                        &mut buf,
                        &mut |_, data| self.put(data),
                    )?;
                }
            }
            Content::Bundles { layer, order } => {
                let Ffn::Dense { gate, up, down } = &plan.model.layers[*layer].ffn else {
                    unreachable!("packed files were refused");
                };
                let FfnEntry::Bundled(entry) = &plan.header.layers[*layer].ffn else {
                    unreachable!("the plan made bundles");
                };
                let files = Files::open(&plan.model.files)?;
                let source = bundle::Source {
                    files: &files,
                    gate: gate.as_ref(),
                    up,
                    down,
                    order: order.as_deref(),
                    entry,
                };
                return source.write(&mut |data| self.put(data));
            }
        }
        Ok(0.0)
    }

    /// Writes checksums, header and preamble, and puts the file in its place.
    fn finish(mut self, output: &Path) -> Result<(u64, Header)> {
        let header = self.header();
        let bytes = self.tail(&header).map_err(|e| self.failed(e))?;
        let placed = std::fs::rename(&self.part, output).and_then(|()| sync_folder(output));
        placed.map_err(|e| self.failed(e))?;
        // The output is complete; a journal that stays is recognized by the next run.
        let _ = self.journal.remove();
        (self.progress)(self.total, self.total);
        Ok((bytes, header))
    }

    /// The header with hashes and errors.
    fn header(&self) -> Header {
        let mut header = self.plan.header.clone();
        for (section, sums) in header.sections.iter_mut().zip(&self.sums) {
            section.sha256.clone_from(&sums.sha256);
        }
        let content = self.plan.contents.iter().zip(&self.journal.done);
        for (content, done) in content {
            if let Content::Bundles { layer, .. } = content
                && let FfnEntry::Bundled(entry) = &mut header.layers[*layer].ffn
            {
                entry.down_error = done.down_error;
            }
        }
        header.checksums.sha256 = sha256_hex(&self.table());
        header
    }

    fn table(&self) -> Vec<u8> {
        let units = self.sums.iter().flat_map(|sums| &sums.units);
        units.flat_map(|crc| crc.to_le_bytes()).collect()
    }

    fn tail(&mut self, header: &Header) -> io::Result<u64> {
        let table = self.table();
        assert_eq!(
            table.len() as u64,
            header.checksums.bytes,
            "units were counted before"
        );
        let json = serde_json::to_vec(header)?;
        let header_offset =
            (header.checksums.offset + table.len() as u64).next_multiple_of(SECTION_ALIGN);
        let file_bytes = (header_offset + json.len() as u64).next_multiple_of(SECTION_ALIGN);
        let preamble = Preamble {
            header_offset,
            header_bytes: json.len() as u64,
            file_bytes,
            header_sha256: Sha256::digest(&json).into(),
        };
        let file: &File = self.sink.file();
        file.set_len(header.checksums.offset)?;
        file.set_len(file_bytes)?;
        file.write_all_at(&table, header.checksums.offset)?;
        file.write_all_at(&json, header_offset)?;
        let first: [u8; PREAMBLE_BYTES] = preamble.encode();
        file.write_all_at(&first, 0)?;
        self.sink.sync()?;
        self.sink.file().sync_all()?;
        Ok(file_bytes)
    }
}

/// Makes a rename last.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

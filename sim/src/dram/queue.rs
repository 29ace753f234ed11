//! Accesses that wait for a bank, by row.

use std::collections::VecDeque;

/// One burst of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// Order of arrival.
    pub(super) seq: u64,
    /// The request.
    pub(super) request: u32,
    /// Which burst of the request.
    pub(super) part: u32,
    pub(super) column: u32,
    /// Time of arrival.
    pub(super) since: u64,
}

struct RowQueue {
    row: u32,
    accesses: VecDeque<Access>,
}

/// The accesses of one kind to one bank. Few rows wait at a time, so searching them is cheap.
#[derive(Default)]
pub(super) struct Queue {
    rows: VecDeque<RowQueue>,
}

impl Queue {
    pub(super) fn push(&mut self, row: u32, access: Access) {
        // Late arrivals join their row: that is what "row hits first" amounts to within a bank.
        match self.rows.iter_mut().find(|r| r.row == row) {
            Some(queue) => queue.accesses.push_back(access),
            None => self.rows.push_back(RowQueue {
                row,
                accesses: VecDeque::from([access]),
            }),
        }
    }

    /// The row to open, and its oldest access.
    pub(super) fn oldest(&self) -> Option<(u32, Access)> {
        let fronts = self.rows.iter();
        let fronts = fronts.filter_map(|r| Some((r.row, *r.accesses.front()?)));
        fronts.min_by_key(|(_, access)| access.seq)
    }

    /// The oldest access to a row.
    pub(super) fn hit(&self, row: u32) -> Option<Access> {
        let queue = self.rows.iter().find(|r| r.row == row)?;
        queue.accesses.front().copied()
    }

    /// Takes the access that [`Queue::hit`] returns.
    pub(super) fn take(&mut self, row: u32) -> Option<Access> {
        let at = self.rows.iter().position(|r| r.row == row)?;
        let access = self.rows[at].accesses.pop_front();
        if self.rows[at].accesses.is_empty() {
            self.rows.remove(at);
        }
        access
    }
}

//! What an archive holds, read from its listing.
//!
//! - Names carry what is needed to find every run of history; only the small objects that name
//!   others (lineages, checkpoints) are fetched.
//! - Nothing here is trusted further than to make a plan: a restore checks every byte it uses.
//! - An object that should be usable and is not is kept with its reason, never dropped silently.

mod agree;
pub mod window;

use crate::checkpoint::{self, Checkpoint};
use crate::end::{self, End};
use crate::layout::{
    self, CheckpointName, Digest, EndName, Kind, LineageFolder, Name, PrunedName, SegmentName,
};
use crate::layout::{LINEAGES, TableName};
use crate::lineage::{self, Announcement};
use crate::store::{self, list_all};
use crate::{Archive, Error, Result};
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};

/// Small objects fetched at a time.
const FETCHES_MAX: usize = 8;
/// Under which group an archive is told of that holds announcements alone.
const GROUP_WITHOUT_OBJECTS: u64 = 1;

/// A segment in the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// What its name says.
    pub name: SegmentName,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified_ms: u64,
}

/// A table in the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified_ms: u64,
}

/// Whether a restore can start from a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// It was read, and all its tables are listed with their sizes.
    Whole(Checkpoint),
    /// It is encrypted and could not be opened; why not.
    Sealed(&'static str),
    /// Why not.
    Unusable(String),
}

/// A checkpoint in the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// What its name says.
    pub name: CheckpointName,
    /// The size of the object itself.
    pub bytes: u64,
    /// What it holds.
    pub content: Content,
}

impl CheckpointEntry {
    /// The checkpoint, if a restore can start from it.
    pub const fn whole(&self) -> Option<&Checkpoint> {
        match &self.content {
            Content::Whole(checkpoint) => Some(checkpoint),
            Content::Sealed(_) | Content::Unusable(_) => None,
        }
    }
}

/// One lineage of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Whose it is.
    pub folder: LineageFolder,
    /// Who it is; `None` when that object is missing or damaged.
    pub announcement: Option<Announcement>,
    /// Segments, sorted by the commit before their first one.
    pub segments: Vec<Segment>,
    /// Checkpoints, sorted by stamp.
    pub checkpoints: Vec<CheckpointEntry>,
    /// Tables.
    pub tables: BTreeMap<TableName, Table>,
    /// What retention removed.
    pub pruned: Vec<PrunedName>,
    /// Where it ends, by what was promoted from it; sorted by stamp.
    pub ends: Vec<EndName>,
    /// Objects that are not what they should be, each with the reason.
    pub damaged: Vec<(String, String)>,
}

impl History {
    /// A lineage of which nothing is known yet.
    pub fn new(folder: LineageFolder) -> Self {
        Self {
            folder,
            announcement: None,
            segments: Vec::new(),
            checkpoints: Vec::new(),
            tables: BTreeMap::new(),
            pruned: Vec::new(),
            ends: Vec::new(),
            damaged: Vec::new(),
        }
    }

    /// The whole name of one of its objects.
    pub fn object(&self, kind: Kind) -> String {
        Name { lineage: self.folder, kind }.to_string()
    }

    /// Where another lineage goes on from this one; what was shipped after it is a fork.
    pub fn end(&self) -> Option<EndName> {
        self.ends.last().copied()
    }

    /// The last commit that was shipped after the end, if any was.
    pub fn beyond_its_end(&self) -> Option<engine::Versionstamp> {
        let segments = self.segments.iter().map(|segment| segment.name.last);
        let last = segments.chain(self.checkpoints.iter().map(|entry| entry.name.stamp)).max()?;
        self.end().filter(|end| last > end.stamp).map(|_| last)
    }

    /// The same without what was shipped after the end.
    #[must_use]
    pub fn until_its_end(&self) -> Self {
        let mut history = self.clone();
        if let Some(EndName { stamp, .. }) = self.end() {
            history.segments.retain(|segment| segment.name.base < stamp);
            history.checkpoints.retain(|entry| entry.name.stamp <= stamp);
        }
        history
    }

    /// The stamp below which retention removed points, if it removed any.
    pub fn pruned_below(&self) -> Option<engine::Versionstamp> {
        self.pruned.iter().map(|name| name.below).max()
    }
}

/// What an archive holds of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// Where it is.
    pub location: String,
    /// The group.
    pub group: u64,
    /// Its lineages, sorted by epoch.
    pub lineages: Vec<History>,
    /// Objects in the archive's folder that are not ours.
    pub foreign: Vec<String>,
}

/// Reads what an archive holds of one group.
///
/// # Errors
///
/// What the store says. Objects that are damaged or cannot be opened are not an error here: they are in the catalog.
pub async fn read(archive: &Archive, group: u64) -> Result<Catalog> {
    let (objects, foreign) = list(archive).await?;
    read_group(archive, group, &objects, foreign).await
}

/// Reads what an archive holds of each group, from one listing; sorted by group. Lineages of which nothing but their
/// announcement is there are told of with the first group. Nothing when there is no archive.
///
/// # Errors
///
/// As [`read`].
pub async fn read_all(archive: &Archive) -> Result<Vec<Catalog>> {
    let (objects, foreign) = list(archive).await?;
    let held: BTreeSet<(LineageFolder, Option<u64>)> =
        objects.iter().map(|(name, _)| (name.lineage, group_of(name.kind))).collect();
    let mut groups: BTreeSet<u64> = held.iter().filter_map(|(_, group)| *group).collect();
    if groups.is_empty() && !held.is_empty() {
        groups.insert(GROUP_WITHOUT_OBJECTS);
    }
    let first = groups.first().copied();
    let with_objects: BTreeSet<LineageFolder> =
        held.iter().filter(|(_, group)| group.is_some()).map(|(lineage, _)| *lineage).collect();
    let mut catalogs = Vec::new();
    for group in groups {
        let mut catalog = read_group(archive, group, &objects, foreign.clone()).await?;
        catalog.lineages.retain(|history| {
            let lineage = history.folder;
            held.contains(&(lineage, Some(group)))
                || (first == Some(group) && !with_objects.contains(&lineage))
        });
        catalogs.push(catalog);
    }
    Ok(catalogs)
}

/// The groups of which an archive holds anything, rising.
///
/// # Errors
///
/// What the store says when it cannot be listed.
pub async fn groups(archive: &Archive) -> Result<BTreeSet<u64>> {
    let (objects, _foreign) = list(archive).await?;
    Ok(objects.iter().filter_map(|(name, _)| group_of(name.kind)).collect())
}

/// Every object of an archive, and the names that are not ours.
async fn list(archive: &Archive) -> Result<(Vec<(Name, store::Object)>, Vec<String>)> {
    let (mut objects, mut foreign) = (Vec::new(), Vec::new());
    for object in list_all(&**archive.store(), LINEAGES).await? {
        match Name::parse(&object.name) {
            Some(name) => objects.push((name, object)),
            None => foreign.push(object.name),
        }
    }
    Ok((objects, foreign))
}

async fn read_group(
    archive: &Archive,
    group: u64,
    objects: &[(Name, store::Object)],
    foreign: Vec<String>,
) -> Result<Catalog> {
    let mut lineages: BTreeMap<LineageFolder, Listing> = BTreeMap::new();
    for (name, object) in objects {
        let listing = lineages.entry(name.lineage).or_insert_with(|| Listing::new(name.lineage));
        listing.add(group, name.kind, object);
    }
    let mut catalog = Catalog { location: archive.location(), group, lineages: Vec::new(), foreign };
    for listing in lineages.into_values() {
        catalog.lineages.push(listing.load(archive, group).await?);
    }
    Ok(catalog)
}

/// The group that an object belongs to; `None` when it is of a lineage as a whole.
const fn group_of(kind: Kind) -> Option<u64> {
    match kind {
        Kind::Lineage(_) => None,
        Kind::Segment(group, _)
        | Kind::Checkpoint(group, _)
        | Kind::Table(group, _)
        | Kind::Pruned(group, _)
        | Kind::End(group, _) => Some(group),
    }
}

/// A lineage whose small objects were not fetched yet.
struct Listing {
    history: History,
    announcements: Vec<Digest>,
    ends: Vec<EndName>,
    checkpoints: Vec<(CheckpointName, u64)>,
}

impl Listing {
    fn new(folder: LineageFolder) -> Self {
        let history = History::new(folder);
        Self { history, announcements: Vec::new(), ends: Vec::new(), checkpoints: Vec::new() }
    }

    fn add(&mut self, wanted: u64, kind: Kind, object: &store::Object) {
        let history = &mut self.history;
        match kind {
            Kind::Lineage(digest) => self.announcements.push(digest),
            Kind::Segment(group, name) if group == wanted => {
                let (bytes, modified_ms) = (object.bytes, object.modified_ms);
                history.segments.push(Segment { name, bytes, modified_ms });
            }
            Kind::Checkpoint(group, name) if group == wanted => self.checkpoints.push((name, object.bytes)),
            Kind::Table(group, name) if group == wanted => {
                let table = Table { bytes: object.bytes, modified_ms: object.modified_ms };
                history.tables.insert(name, table);
            }
            Kind::Pruned(group, name) if group == wanted => history.pruned.push(name),
            Kind::End(group, name) if group == wanted => self.ends.push(name),
            _ => {}
        }
    }

    async fn load(self, archive: &Archive, group: u64) -> Result<History> {
        let mut history = self.history;
        for digest in self.announcements {
            let name = history.object(Kind::Lineage(digest));
            match fetch_announcement(archive, &name, digest, history.folder).await? {
                Ok(found) => {
                    let earlier = history.announcement.is_none_or(|known| found.begun_ms < known.begun_ms);
                    history.announcement = if earlier { Some(found) } else { history.announcement };
                }
                Err(reason) => history.damaged.push((name, reason)),
            }
        }
        for end in self.ends {
            let name = history.object(Kind::End(group, end));
            match fetch_end(archive, &name, group, history.folder, end).await? {
                Ok(()) => history.ends.push(end),
                Err(reason) => history.damaged.push((name, reason)),
            }
        }
        history.ends.sort_unstable();
        let entries = {
            let history = &history;
            let fetch = |(name, bytes): (CheckpointName, u64)| async move {
                let content = fetch_checkpoint(archive, group, history, name).await?;
                Ok::<_, Error>(CheckpointEntry { name, bytes, content })
            };
            futures::stream::iter(self.checkpoints).map(fetch).buffered(FETCHES_MAX).try_collect().await?
        };
        history.checkpoints = entries;
        history.checkpoints.sort_by_key(|entry| entry.name);
        history.segments.sort_unstable_by_key(|segment| (segment.name.base, segment.name));
        for entry in &history.checkpoints {
            if let Content::Unusable(reason) = &entry.content {
                let name = history.object(Kind::Checkpoint(group, entry.name));
                history.damaged.push((name, reason.clone()));
            }
        }
        Ok(history)
    }
}

/// What is wrong with an object, as opposed to: what went wrong on the way to it.
fn found_wrong(error: Error) -> Result<String> {
    match error {
        Error::Damaged { offset, expected, .. } => Ok(format!("byte {offset}: expected {expected}")),
        Error::Missing { .. } => Ok("it is missing".to_owned()),
        other => Err(other),
    }
}

async fn fetch_announcement(
    archive: &Archive,
    name: &str,
    digest: Digest,
    folder: LineageFolder,
) -> Result<Result<Announcement, String>> {
    let bytes = match archive.fetch(name, digest, false, lineage::OBJECT_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return found_wrong(error).map(Err),
    };
    Ok(match Announcement::decode(&bytes) {
        Ok(found) if LineageFolder::from(found.lineage) == folder => Ok(found),
        Ok(_) => Err("it stands in the folder of another lineage".to_owned()),
        Err(malformed) => Err(malformed.to_string()),
    })
}

async fn fetch_end(
    archive: &Archive,
    name: &str,
    group: u64,
    folder: LineageFolder,
    end: EndName,
) -> Result<Result<(), String>> {
    let bytes = match archive.fetch(name, end.digest, false, end::OBJECT_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return found_wrong(error).map(Err),
    };
    Ok(match End::decode(&bytes) {
        Ok(found) if (found.lineage, found.group) == (folder, group) && found.name(end.digest) == end => {
            Ok(())
        }
        Ok(_) => Err("it is not the end that its name says".to_owned()),
        Err(malformed) => Err(malformed.to_string()),
    })
}

async fn fetch_checkpoint(
    archive: &Archive,
    group: u64,
    history: &History,
    name: CheckpointName,
) -> Result<Content> {
    let object = history.object(Kind::Checkpoint(group, name));
    let fetched = archive.fetch(&object, name.digest, name.sealed, checkpoint::OBJECT_BYTES_MAX).await;
    let bytes = match fetched {
        Ok(bytes) => bytes,
        Err(Error::Sealed { reason, .. }) => return Ok(Content::Sealed(reason)),
        Err(error) => return found_wrong(error).map(Content::Unusable),
    };
    let found = match Checkpoint::decode(&bytes) {
        Ok(found) => found,
        Err(malformed) => return Ok(Content::Unusable(malformed.to_string())),
    };
    if found.lineage != history.folder || found.group != group || found.name(name.digest, name.sealed) != name
    {
        return Ok(Content::Unusable("it is not the checkpoint that its name says".to_owned()));
    }
    let wrong = found.tables.iter().find_map(|table| {
        let object = history.object(Kind::Table(group, table.name()));
        match history.tables.get(&table.name()) {
            None => Some(format!("its table {object} is missing")),
            Some(listed) if listed.bytes != table.stored_bytes() => {
                let (is, should) = (listed.bytes, table.stored_bytes());
                Some(format!("its table {object} has {is} bytes instead of {should}"))
            }
            Some(_) => None,
        }
    });
    Ok(wrong.map_or(Content::Whole(found), Content::Unusable))
}

/// A time as people read it: RFC 3339 in UTC with milliseconds.
pub fn rfc3339(time_ms: u64) -> String {
    let time = i64::try_from(time_ms.min(layout::TIME_MS_MAX)).ok();
    let time = time.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{time_ms} ms"), |time| format!("{time:.3}"))
}

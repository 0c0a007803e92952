//! A page of a listing, out of directories.

use super::super::{Object, PAGE_OBJECTS_MAX, Page};
use super::Outcome;
use super::session::Session;
use super::transfer::entries;
use super::wire::Attributes;

/// The first objects below `root` whose names start with `prefix` and sort after `after`, in the order of their bytes.
pub(super) async fn page(session: &Session, root: &str, prefix: &str, after: Option<&str>) -> Outcome<Page> {
    let mut page = Page::default();
    // What is left to look at, the next one last; a directory ends with its slash, as the names of objects in it do.
    let mut left: Vec<(String, Attributes)> = vec![(String::new(), Attributes::default())];
    while let Some((name, attributes)) = left.pop() {
        if name.is_empty() || name.ends_with('/') {
            let below = children(session, root, &name).await?;
            left.extend(below.into_iter().filter(|(name, _)| may_hold(name, prefix, after)).rev());
            continue;
        }
        if page.objects.len() == PAGE_OBJECTS_MAX {
            page.more = true;
            break;
        }
        let (bytes, modified_ms) = (attributes.len, u64::from(attributes.modified_s) * 1_000);
        page.objects.push(Object { name, bytes, modified_ms });
    }
    Ok(page)
}

/// What is in a directory, sorted.
async fn children(session: &Session, root: &str, above: &str) -> Outcome<Vec<(String, Attributes)>> {
    let found = entries(session, &format!("{root}/{above}")).await?;
    let mut children: Vec<(String, Attributes)> = found
        .into_iter()
        .filter_map(|entry| Some((String::from_utf8(entry.name).ok()?, entry.attributes)))
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, attributes)| {
            let slash = if attributes.directory { "/" } else { "" };
            (format!("{above}{name}{slash}"), attributes)
        })
        .collect();
    children.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(children)
}

/// Whether it is, or may hold, an object that is asked for.
fn may_hold(name: &str, prefix: &str, after: Option<&str>) -> bool {
    if name.ends_with('/') {
        let may_match = name.starts_with(prefix) || prefix.starts_with(name);
        may_match && after.is_none_or(|after| *after < *name || after.starts_with(name))
    } else {
        name.starts_with(prefix) && after.is_none_or(|after| name > after)
    }
}

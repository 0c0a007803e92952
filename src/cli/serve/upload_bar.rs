//! A progress bar for the upload of a checkpoint, when somebody watches.

use archiver::ship::Status;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use tokio::sync::watch;

const TEMPLATE: &str = "checkpoint to the archive {bar:30} {bytes}/{total_bytes}";

/// Shows each upload on standard error while it runs; does nothing when that is not a terminal.
pub(super) async fn show(mut status: watch::Receiver<Status>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let mut bar: Option<ProgressBar> = None;
    while status.changed().await.is_ok() {
        match status.borrow_and_update().checkpoint_upload {
            Some((done, total)) => bar.get_or_insert_with(|| new_bar(total)).set_position(done),
            None => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

fn new_bar(total: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_invalid| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_valid() -> Result<(), indicatif::style::TemplateError> {
        ProgressStyle::with_template(TEMPLATE).map(drop)
    }
}

//! OUTLINE
#[derive(Debug)]
/// Real disk
pub struct Disk;
use super::*;
impl Fs for Disk {
    fn create(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        todo!()
    }
    fn open(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        todo!()
    }
    fn open_rw(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        todo!()
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        todo!()
    }
    fn hard_link(&self, _: &Path, _: &Path) -> io::Result<()> {
        todo!()
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        todo!()
    }
    fn remove_dir_all(&self, _: &Path) -> io::Result<()> {
        todo!()
    }
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        todo!()
    }
    fn read_dir(&self, _: &Path) -> io::Result<Vec<String>> {
        todo!()
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        todo!()
    }
    fn exists(&self, _: &Path) -> io::Result<bool> {
        todo!()
    }
    fn space(&self, _: &Path) -> io::Result<Space> {
        todo!()
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn DirLock>> {
        todo!()
    }
}

//! Files that are read again when they change.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A group of files, with the state that they had when they were last read.
///
/// Checks the files only when it is called, and does not read them itself.
#[derive(Debug)]
pub struct WatchedFiles {
    files: Vec<(PathBuf, Option<FileState>)>,
    /// Why the files could not be used when they were last read.
    fault: Option<String>,
}

/// Identifies the state of a file, links followed: device, inode, size, and the times of the last
/// change of the content and of the inode. So it notices a link with a new target (Kubernetes:
/// `..data`), a file renamed over another one, and a file written in place, even if the time of the
/// content is set back.
type FileState = [i64; 7];

impl WatchedFiles {
    /// Notes the state of the files. Must be called before they are read, so that a change
    /// meanwhile is noticed later.
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = files.into_iter().map(|path| (path, None)).collect();
        let mut watched = Self { files, fault: None };
        watched.look();
        watched
    }

    /// Reads the files again if one has changed, if they could not be used last time (they may have
    /// been half written), or if `forced`. `None` if nothing has changed, or the fault is known.
    pub fn refresh<T, E: Display>(
        &mut self,
        forced: bool,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let changed = self.look();
        if !changed && !forced && self.fault.is_none() {
            return None;
        }
        match read() {
            Ok(fresh) => {
                self.fault = None;
                Some(Ok(fresh))
            }
            Err(error) => {
                let text = Some(error.to_string());
                let known = std::mem::replace(&mut self.fault, text.clone()) == text;
                (forced || !known).then_some(Err(error))
            }
        }
    }

    /// Notes the state of the files. Returns `true` if one has changed since the last call.
    fn look(&mut self) -> bool {
        let mut changed = false;
        for (path, state) in &mut self.files {
            let now = fs::metadata(path).ok().map(|file| {
                let (device, inode) = (file.dev().cast_signed(), file.ino().cast_signed());
                let (content, change) =
                    ([file.mtime(), file.mtime_nsec()], [file.ctime(), file.ctime_nsec()]);
                [device, inode, file.size().cast_signed(), content[0], content[1], change[0], change[1]]
            });
            changed |= std::mem::replace(state, now) != now;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rig-watched-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn read(path: &Path) -> Result<String, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        if text.ends_with('\n') { Ok(text) } else { Err("half written".to_owned()) }
    }

    #[test]
    fn f12_every_way_to_change_a_file_is_seen_once() {
        let folder = folder("ways");
        let path = folder.join("file");
        fs::write(&path, "a\n").unwrap();
        let mut watched = WatchedFiles::new([path.clone()]);
        assert_eq!(watched.refresh(false, || read(&path)), None);
        fs::write(&path, "bb\n").unwrap();
        assert_eq!(watched.refresh(false, || read(&path)), Some(Ok("bb\n".to_owned())));
        assert_eq!(watched.refresh(false, || read(&path)), None);
        // Renamed over it, with the size and the time of the one before.
        let (other, time) = (folder.join("other"), fs::metadata(&path).unwrap().modified().unwrap());
        fs::write(&other, "cc\n").unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(watched.refresh(false, || read(&path)), Some(Ok("cc\n".to_owned())));
        assert_eq!(watched.refresh(true, || read(&path)), Some(Ok("cc\n".to_owned())));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn f12_a_link_that_is_turned_elsewhere_is_a_change() {
        let folder = folder("links");
        for (version, text) in [("..1", "one\n"), ("..2", "two\n")] {
            fs::create_dir(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("file"), text).unwrap();
        }
        symlink("..1", folder.join("..data")).unwrap();
        symlink("..data/file", folder.join("file")).unwrap();
        let path = folder.join("file");
        let mut watched = WatchedFiles::new([path.clone()]);
        symlink("..2", folder.join("..tmp")).unwrap();
        fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
        assert_eq!(watched.refresh(false, || read(&path)), Some(Ok("two\n".to_owned())));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn f12_what_cannot_be_used_is_told_once_and_tried_again() {
        let folder = folder("faults");
        let path = folder.join("file");
        fs::write(&path, "a\n").unwrap();
        let mut watched = WatchedFiles::new([path.clone()]);
        fs::write(&path, "b").unwrap();
        assert_eq!(watched.refresh(false, || read(&path)), Some(Err("half written".to_owned())));
        assert_eq!(watched.refresh(false, || read(&path)), None);
        fs::remove_file(&path).unwrap();
        assert!(matches!(watched.refresh(false, || read(&path)), Some(Err(_))));
        assert_eq!(watched.refresh(false, || read(&path)), None);
        fs::write(&path, "b\n").unwrap();
        assert_eq!(watched.refresh(false, || read(&path)), Some(Ok("b\n".to_owned())));
        // Without a change of the file: what was at fault may lie elsewhere.
        assert_eq!(watched.refresh(true, || Err::<(), _>("elsewhere")), Some(Err("elsewhere")));
        assert_eq!(watched.refresh(false, || read(&path)), Some(Ok("b\n".to_owned())));
        fs::remove_dir_all(&folder).unwrap();
    }
}

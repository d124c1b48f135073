//! Reads files that operators name, so that none of them can block the reader or fill the memory.

use std::fs::{File, Metadata};
use std::io::{self, Error, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// The largest file of JSON or TOML, in bytes.
pub const MAX_DOCUMENT: u64 = 16 << 20;

/// The largest file of certificates or keys, in bytes: a bundle of all public authorities is a
/// quarter of it.
pub const MAX_KEYS: u64 = 1 << 20;

/// Opens a regular file, links followed.
///
/// Never waits for a writer: pipes, sockets and devices are refused, even if one replaces the file
/// meanwhile.
///
/// # Errors
/// Fails if the file cannot be opened, or is not a regular file.
pub fn open_file(path: &Path) -> io::Result<File> {
    let regular = |found: &Metadata| match found.is_file() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::InvalidInput, "not a regular file")),
    };
    // Checked before it is opened: opening a device may have an effect.
    regular(&std::fs::metadata(path)?)?;
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// Fails as [`open_file`] does, or if the file is larger.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than {most} bytes")));
    }
    Ok(bytes)
}

/// Reads a regular file of text, without its byte order mark.
///
/// # Errors
/// Fails as [`read_file`] does with [`MAX_DOCUMENT`], or if the file is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read_file(path, MAX_DOCUMENT)?;
    if is_utf16(&bytes) {
        return Err(Error::new(ErrorKind::InvalidData, "UTF-16, where UTF-8 is expected"));
    }
    let text = str::from_utf8(json::without_mark(&bytes));
    text.map(str::to_owned).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Error::new(ErrorKind::InvalidData, format!("line {line}: not UTF-8"))
    })
}

/// Returns `true` if a text begins with the byte order mark of UTF-16.
pub fn is_utf16(text: &[u8]) -> bool {
    text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rig-file-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn f12_whatever_is_no_regular_file_is_refused_and_never_waited_for() {
        let folder = folder("kinds");
        let pipe = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&pipe, &folder, Path::new("/dev/zero"), Path::new("/dev/null")] {
            let error = read_file(path, 10).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file", "{}", path.display());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn f12_no_more_is_read_than_is_allowed() {
        let folder = folder("sizes");
        let path = folder.join("file");
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(read_file(&path, 10).unwrap(), b"0123456789");
        assert_eq!(read_file(&path, 9).unwrap_err().to_string(), "larger than 9 bytes");
        // Files of the system have no size.
        assert!(!read_file(Path::new("/proc/self/stat"), MAX_KEYS).unwrap().is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn f12_text_is_utf_8_with_or_without_its_mark() {
        let folder = folder("texts");
        let path = folder.join("file");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_text(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"\xef\xbb\xbf{}\r\n"), Ok("{}\r\n".to_owned()));
        assert_eq!(read(b"\xff\xfe{\0}\0"), Err("UTF-16, where UTF-8 is expected".to_owned()));
        assert_eq!(read(b"{\n\"\xff\""), Err("line 2: not UTF-8".to_owned()));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

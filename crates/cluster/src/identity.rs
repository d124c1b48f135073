//! Which node this is, and which life: kept in the data folder, whose lock proves that earlier
//! lives have ended.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use seal::Incarnation;
use serde::{Deserialize, Serialize};
use session::NodeName;

/// The name of the file.
const FILE: &str = "node.json";

/// A node at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Its name, unique in the cluster.
    pub node: NodeName,
    /// Its life, which begins now.
    pub life: Incarnation,
    /// Its life before; `None` at its first start.
    pub earlier: Option<Incarnation>,
}

/// The name or the life of the node cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// An I/O error.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        error: std::io::Error,
    },
    /// The file was not written by a gateway, or is damaged.
    #[error("{} is damaged: {reason}; delete it, and wait for {}", path.display(), "CLUSTER_LEASE before the node is started again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder belongs to another node.
    #[error(
        "DATA_DIR belongs to the node {kept:?}, but CLUSTER_NODE is {given:?}: two nodes cannot share a folder, and a node keeps its name"
    )]
    OtherNode {
        /// The name in the folder.
        kept: String,
        /// The name in the setting.
        given: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    node: String,
    life: String,
}

impl NodeIdentity {
    /// Returns whether the folder is that of a node of a cluster.
    pub fn is_kept(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Begins a new life of the node whose data folder this is. The folder must be locked. Without
    /// a `name`, the node gets a random one at its first start.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn begin(folder: &Path, name: Option<&str>) -> Result<Self, IdentityError> {
        let path = folder.join(FILE);
        let io = |error| IdentityError::Io { path: path.clone(), error };
        let damaged = |reason: String| IdentityError::Damaged { path: path.clone(), reason };
        let kept: Option<Document> = match std::fs::read(&path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(error)),
        };
        let earlier = kept.as_ref().map(|kept| kept.life.parse()).transpose();
        let earlier = earlier.map_err(|_| damaged("\"life\" is not the life of a node".to_owned()))?;
        let node = match (kept, name) {
            (Some(kept), Some(given)) if kept.node != given => {
                return Err(IdentityError::OtherNode { kept: kept.node, given: given.to_owned() });
            }
            (Some(kept), _) => kept.node,
            (None, Some(given)) => given.to_owned(),
            (None, None) => random_name(),
        };
        let life = Incarnation::of(&node);
        let document = Document { node: node.clone(), life: life.to_string() };
        write(&path, &document).map_err(io)?;
        Ok(Self { node: NodeName::from(node.as_str()), life, earlier })
    }
}

/// Replaces the file; a crash leaves the old one or the new one.
fn write(path: &Path, document: &Document) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec(document).expect("it has no maps"))?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn random_name() -> String {
    let bytes = Incarnation::unnamed().to_bytes();
    let text: String = URL_SAFE_NO_PAD.encode(bytes).chars().filter(char::is_ascii_alphanumeric).collect();
    format!("node-{}", text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_node_keeps_its_name_and_knows_the_life_before() {
        let folder = folder();
        let first = NodeIdentity::begin(folder.path(), None).unwrap();
        assert_eq!(first.earlier, None);
        let second = NodeIdentity::begin(folder.path(), None).unwrap();
        assert_eq!((&second.node, second.earlier), (&first.node, Some(first.life)));
        assert_ne!(second.life, first.life);
        assert!(second.life.is_same_node(first.life));
    }

    #[test]
    fn a_folder_belongs_to_one_node() {
        let folder = folder();
        assert_eq!(NodeIdentity::begin(folder.path(), Some("a")).unwrap().node.as_str(), "a");
        assert_eq!(NodeIdentity::begin(folder.path(), None).unwrap().node.as_str(), "a");
        let other = NodeIdentity::begin(folder.path(), Some("b")).unwrap_err().to_string();
        assert!(other.contains(r#""a""#) && other.contains(r#""b""#), "{other}");
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        for damaged in ["", "{", r#"{"node":"a"}"#, r#"{"node":"a","life":"?"}"#] {
            let folder = folder();
            std::fs::write(folder.path().join(FILE), damaged).unwrap();
            let error = NodeIdentity::begin(folder.path(), None).unwrap_err().to_string();
            assert!(error.contains(FILE) && error.contains("damaged"), "{error}");
        }
    }
}

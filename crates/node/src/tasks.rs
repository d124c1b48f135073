//! Named background tasks.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};

/// Background tasks that run until the process exits. Dropping them aborts them.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A background task has returned or panicked, which is always an error.
#[derive(Debug, thiserror::Error)]
#[error("the background task {name:?} has stopped{}", .panicked.as_ref().map(|error| format!(": {error}")).unwrap_or_default())]
pub struct Stopped {
    name: &'static str,
    panicked: Option<JoinError>,
}

impl Tasks {
    /// Spawns a task.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits until one of the tasks stops. Never returns if there are none.
    pub async fn stopped(&mut self) -> Stopped {
        let Some(stopped) = self.running.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, panicked) = match stopped {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        Stopped { name: self.names.remove(&id).unwrap_or_default(), panicked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_stops_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("steady", std::future::pending());
        tasks.spawn("weak", async {});
        assert_eq!(tasks.stopped().await.to_string(), r#"the background task "weak" has stopped"#);
        tasks.spawn("clumsy", async { panic!("it trips") });
        let stopped = tasks.stopped().await.to_string();
        assert!(stopped.starts_with(r#"the background task "clumsy" has stopped: "#), "{stopped}");
        assert!(stopped.contains("it trips"), "{stopped}");
    }
}

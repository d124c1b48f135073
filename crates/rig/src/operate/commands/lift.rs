//! `rig lift`.

use super::super::call::{Call, Query, by, escaped, wait};
use super::super::operation::{self, GatewayCommand, dry_run, value};
use super::super::show::{nodes, whose};
use super::super::text::safe;

pub(super) const COMMAND: GatewayCommand = GatewayCommand {
    name: "lift",
    about: "Takes a revocation back before its time",
    arguments: || {
        let id = value("id", "ID", "The id of the revocation");
        vec![id, operation::by(), operation::wait("2s"), dry_run("Only say what it would do")]
    },
    call: |line| {
        let id = line.needed("id", "ID");
        let (mut query, dry_run) = (Query::default(), line.switch("dry-run"));
        let waits = wait(line);
        query.add("by", by(line));
        query.wait(waits);
        query.add("dry_run", dry_run.then(|| "true".to_owned()));
        let id = id?;
        let path = query.behind(format!("/v4/revocations/{}", escaped(&id)));
        Some(Call {
            method: "DELETE",
            path,
            body: None,
            waits: waits.unwrap_or_default(),
            show: Box::new(move |answer, _| match dry_run {
                true => format!("would lift: {}\n", safe(&whose(&answer.json["revocation"]))),
                false => format!("lifted: {}\n{}", safe(&id), nodes(&answer.json)),
            }),
        })
    },
    compares: false,
};

//! `rig lift`.

use super::super::call::{Call, Query, by, escaped};
use super::super::operation::{self, GatewayCommand, dry_run, value};
use super::super::show::whose;
use super::super::text::safe;

pub(super) const COMMAND: GatewayCommand = GatewayCommand {
    name: "lift",
    about: "Takes a revocation back before its time",
    arguments: || {
        let id = value("id", "ID", "The id of the revocation");
        vec![id, operation::by(), dry_run("Only say what it would do")]
    },
    call: |line| {
        let id = line.needed("id", "ID");
        let (mut query, dry_run) = (Query::default(), line.switch("dry-run"));
        query.add("by", by(line));
        query.add("dry_run", dry_run.then(|| "true".to_owned()));
        let id = id?;
        let path = query.behind(format!("/v4/revocations/{}", escaped(&id)));
        Some(Call {
            method: "DELETE",
            path,
            body: None,
            show: Box::new(move |answer, _| match dry_run {
                true => format!("would lift: {}\n", safe(&whose(&answer.json["revocation"]))),
                false => format!("lifted: {}\n", safe(&id)),
            }),
        })
    },
    compares: false,
};

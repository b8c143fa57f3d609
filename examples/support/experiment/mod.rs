//! What the experiments of the paper share: a setting, a training that is measured, recorded and resumed,
//! and verdicts.
//!
//! A run lives in a folder:
//!
//! | file | content |
//! |---|---|
//! | setting.json | everything that determines the run |
//! | provenance.json | command line, versions, machine, wall time of each part |
//! | history.jsonl | a row per measurement, appended as they come |
//! | training.svg, training.png | the picture, renewed now and then |
//! | checkpoint-STEP/ | model, optimizer and monitor, to go on from |
//!
//! A run that was stopped goes on from its last checkpoint and gives the rows that it would have given; one
//! that is finished is read.

#![allow(dead_code)] // not every experiment uses everything

pub mod checkpoint;
pub mod eoss;
pub mod folder;
pub mod images;
pub mod init;
pub mod plateau;
pub mod progress;
pub mod run;
pub mod schedule;
pub mod training;
pub mod update;
pub mod verdict;

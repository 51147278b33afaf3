//! What a disk in memory may do, and what not.

use super::*;

fn disk(seed: u64, manners: Manners) -> (MemoryDisk, PathBuf) {
    let disk = MemoryDisk::new(seed, manners);
    disk.create_dir_all(Path::new("/data")).expect("room");
    (disk, PathBuf::from("/data/file"))
}

const INSTANT: Manners = Manners {
    sync_min: Duration::ZERO,
    sync_max: Duration::ZERO,
    fails_next_sync: false,
    capacity_bytes: 1 << 20,
    lies: false,
};

#[test]
fn what_was_synced_survives_and_what_was_not_may_be_lost_or_torn() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let (disk, path) = disk(seed, INSTANT);
        disk.write(&path, &[1; 2048]).expect("room");
        disk.sync(&path).expect("it works");
        disk.sync_dir(Path::new("/data")).expect("it works");
        disk.open_blocks(&path).expect("it is there").write(0, &[2; 2048]).expect("room");
        disk.crash();
        let found = disk.read(&path).expect("its name was synced");
        assert_eq!(found.len(), 2048);
        match (found.contains(&1), found.contains(&2)) {
            (true, false) => lost += 1,
            (false, true) => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(kept > 20 && lost > 20 && torn > 20, "{kept} kept, {lost} lost, {torn} torn");
}

#[test]
fn a_name_that_was_not_synced_may_be_lost() {
    let exists = (0..100).filter(|seed| {
        let (disk, path) = disk(*seed, INSTANT);
        disk.write(&path, b"new").expect("room");
        disk.sync(&path).expect("it works");
        disk.crash();
        disk.read(&path).is_ok()
    });
    assert!((20..80).contains(&exists.count()));
}

#[test]
fn a_rename_may_leave_both_names_and_writing_to_one_leaves_the_other() {
    let both = (0..100).filter(|seed| {
        let (disk, path) = disk(*seed, INSTANT);
        let draft = path.with_extension("tmp");
        disk.write(&draft, b"old").expect("room");
        disk.sync(&draft).expect("it works");
        disk.sync_dir(Path::new("/data")).expect("it works");
        disk.rename(&draft, &path).expect("it is there");
        disk.crash();
        let has_both = disk.size(&path).is_ok() && disk.size(&draft).is_ok();
        disk.write(&draft, b"new").expect("room");
        assert!(disk.read(&path).is_ok_and(|content| content == b"old") || !has_both);
        has_both
    });
    assert!((10..90).contains(&both.count()));
}

#[test]
fn a_sync_under_way_promises_nothing() {
    let slow =
        Manners { sync_min: Duration::from_secs(1), sync_max: Duration::from_secs(1), ..INSTANT };
    let kept = (0..100).filter(|seed| {
        let (disk, path) = disk(*seed, INSTANT);
        disk.write(&path, &[1]).expect("room");
        disk.sync(&path).expect("it works");
        disk.sync_dir(Path::new("/data")).expect("it works");
        disk.set_manners(|manners| *manners = slow);
        let blocks = disk.open_blocks(&path).expect("it is there");
        blocks.write(0, &[2]).expect("room");
        blocks.sync().expect("it begins");
        disk.crash();
        disk.read(&path).expect("it is there") == [2]
    });
    assert!((20..95).contains(&kept.count()));
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let (disk, path) = disk(1, INSTANT);
    disk.write(&path, &[1; 100]).expect("room");
    disk.sync(&path).expect("it works");
    disk.sync_dir(Path::new("/data")).expect("it works");
    let blocks = disk.open_blocks(&path).expect("it is there");
    blocks.write(0, &[2; 100]).expect("room");
    disk.set_manners(|manners| manners.fails_next_sync = true);
    blocks.sync().expect_err("it was told to fail");
    blocks.sync().expect("the next one says it works");
    disk.crash();
    assert_eq!(disk.read(&path).expect("it is there"), [1; 100]);
}

#[test]
fn locks_and_open_files_end_with_the_process() {
    let (disk, path) = disk(1, INSTANT);
    let held = disk.lock(&path).expect("a lock file").expect("it is free");
    assert!(disk.lock(&path).expect("a lock file").is_none());
    let blocks = disk.open_blocks(&path).expect("it is there");
    disk.release();
    blocks.write(0, b"late").expect_err("its process is gone");
    let next = disk.lock(&path).expect("a lock file").expect("it is free");
    drop(held);
    assert!(disk.lock(&path).expect("a lock file").is_none(), "the old guard freed the new lock");
    drop(next);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let (disk, path) = disk(1, Manners { capacity_bytes: 100, ..INSTANT });
    let error = disk.write(&path, &[1; 101]).expect_err("it does not fit");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    disk.set_manners(|manners| manners.capacity_bytes = 200);
    disk.write(&path, &[1; 101]).expect("it fits now");
}

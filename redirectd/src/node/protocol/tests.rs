use proptest::prelude::*;
use serde_json::json;
use tokio::runtime;

use super::*;

fn run<T>(future: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn asked() -> Asked {
    Asked { service: "node".to_owned(), name: "abilities".to_owned(), body: json!({"a": [1]}) }
}

#[test]
fn what_is_sent_arrives_one_after_the_other() {
    let calls = [Call::Request(asked()), Call::Stream(asked())];
    let mut wire = Vec::new();
    for call in &calls {
        run(write(&mut wire, call)).unwrap();
    }
    let mut from = &wire[..];
    for call in calls {
        assert_eq!(run(read(&mut from, LARGEST)).unwrap(), Some(call));
    }
    assert_eq!(run(read::<Call>(&mut from, LARGEST)).unwrap(), None);
}

#[test]
fn a_frame_that_is_promised_too_large_is_refused_before_it_comes() {
    let mut from: &[u8] = &[0, 0, 16, 1, b'x'];
    let refused = run(read::<Value>(&mut from, LARGEST_OF_STRANGER)).unwrap_err();
    assert!(refused.to_string().contains("4097"), "{refused}");
}

#[test]
fn an_answer_is_what_was_asked_for_or_an_error_with_its_cure() {
    let error = Error::new(Kind::NotFound, "no such thing").cure("make one");
    for result in [Ok(7), Err(error)] {
        let text = serde_json::to_string(&Answer::from(result.clone())).unwrap();
        let answer: Answer<i32> = serde_json::from_str(&text).unwrap();
        assert_eq!(Result::from(answer), result);
    }
}

#[test]
fn another_version_is_refused_with_the_side_to_upgrade() {
    let hello = |version| Hello { version, ..Hello::ours() };
    assert_eq!(hello(VERSION).check(), Ok(()));
    let older = hello(VERSION - 1).check().unwrap_err();
    assert!(older.cure.unwrap().contains("on the other node"));
    let newer = hello(VERSION + 1).check().unwrap_err();
    assert!(newer.what.contains("version 2") && newer.cure.unwrap().contains("on this node"));
    // A later version may say more.
    let later = r#"{"version": 9, "release": "9.0", "more": {}}"#;
    assert_eq!(serde_json::from_str::<Hello>(later).unwrap().version, 9);
}

proptest! {
    #[test]
    fn any_bytes_are_frames_or_refused(bytes: Vec<u8>, length in 0u32..64) {
        let framed = [&length.to_be_bytes()[..], &bytes].concat();
        for wire in [&bytes, &framed] {
            let mut from = &wire[..];
            while let Ok(Some(_)) = run(read::<Call>(&mut from, LARGEST_OF_STRANGER)) {}
        }
    }

    #[test]
    fn a_frame_cut_short_is_not_the_end(cut in 1usize..60) {
        let mut wire = Vec::new();
        run(write(&mut wire, &Call::Request(asked()))).unwrap();
        prop_assume!(cut < wire.len());
        prop_assert!(run(read::<Call>(&mut &wire[..cut], LARGEST)).is_err());
    }
}

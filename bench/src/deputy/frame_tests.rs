use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

/// A call, with its data apart.
fn calls() -> impl Strategy<Value = (Call<'static>, Vec<u8>)> {
    let data = proptest::collection::vec(any::<u8>(), 0..300);
    let option = prop_oneof![Just(SocketOption::ReuseAddress), Just(SocketOption::NoDelay)];
    (0..10_u8, any::<u32>(), any::<u32>(), any::<u16>(), option, data).prop_map(
        |(kind, socket, number, port, option, data)| {
            let socket = Descriptor(socket);
            let address = SocketAddrV4::new(Ipv4Addr::from(number), port);
            let call = match kind {
                0 => Call::Socket,
                1 => Call::SetOption(socket, option),
                2 => Call::Bind(socket, address),
                3 => Call::Listen(socket, number),
                4 => Call::Accept(socket),
                5 => Call::Recv(socket, number),
                6 => Call::Send(socket, &[]),
                7 => Call::Shutdown(socket),
                8 => Call::Close(socket),
                _ => Call::Window(socket, number),
            };
            (call, data)
        },
    )
}

fn answers() -> impl Strategy<Value = (Answer<'static>, Vec<u8>)> {
    let data = proptest::collection::vec(any::<u8>(), 0..300);
    (0..6_u8, any::<u32>(), any::<i32>(), any::<bool>(), data).prop_map(
        |(kind, socket, number, flag, data)| {
            let socket = Descriptor(socket);
            let answer = match kind {
                0 => Answer::Greeting { version: number as u8, gather: flag },
                1 => Answer::Done(number.cast_unsigned()),
                2 => Answer::Data(&[]),
                3 => Answer::Failed(number),
                4 => Answer::Ahead(socket, &[]),
                _ => Answer::AheadFailed(socket, number),
            };
            (answer, data)
        },
    )
}

/// The frames in `bytes`, read one after the other.
fn split(bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut frames = Frames::new(bytes);
    let mut all = Vec::new();
    while let Some(frame) = frames.next()? {
        all.push(frame.to_vec());
    }
    Ok(all)
}

proptest! {
    #[test]
    fn calls_come_out_as_they_went_in(calls in proptest::collection::vec(calls(), 0..8)) {
        let mut bytes = Vec::new();
        let with_data: Vec<_> = calls.iter().map(|(call, data)| match call {
            Call::Send(socket, _) => Call::Send(*socket, data),
            other => *other,
        }).collect();
        with_data.iter().for_each(|call| call.write(&mut bytes));
        let frames = split(&bytes).unwrap();
        let read: Vec<_> = frames.iter().map(|frame| Call::read(frame).unwrap()).collect();
        prop_assert_eq!(read, with_data);
    }

    #[test]
    fn answers_come_out_as_they_went_in(answers in proptest::collection::vec(answers(), 0..8)) {
        let mut bytes = Vec::new();
        let with_data: Vec<_> = answers.iter().map(|(answer, data)| match answer {
            Answer::Data(_) => Answer::Data(data),
            Answer::Ahead(socket, _) => Answer::Ahead(*socket, data),
            other => *other,
        }).collect();
        with_data.iter().for_each(|answer| answer.write(&mut bytes));
        let frames = split(&bytes).unwrap();
        let read: Vec<_> = frames.iter().map(|frame| Answer::read(frame).unwrap()).collect();
        prop_assert_eq!(read, with_data);
    }

    /// What is read either is refused, or would be written as it was.
    #[test]
    fn anything_else_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut again = Vec::new();
        if let Ok(call) = Call::read(&bytes) {
            call.write(&mut again);
            prop_assert_eq!(&again[4..], &bytes);
        }
        again.clear();
        if let Ok(answer) = Answer::read(&bytes) {
            answer.write(&mut again);
            prop_assert_eq!(&again[4..], &bytes);
        }
    }

    #[test]
    fn a_frame_that_is_cut_short_is_an_error((call, _) in calls(), cut in 1..20_usize) {
        let mut bytes = Vec::new();
        call.write(&mut bytes);
        let left = bytes.len().saturating_sub(cut);
        if left > 0 {
            prop_assert_eq!(
                split(&bytes[..left]).unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof
            );
        }
    }
}

#[test]
fn a_frame_that_says_it_is_longer_than_any_is_refused_before_it_is_read() {
    let length = (MAX_LENGTH + 1) as u32;
    let error = split(&length.to_be_bytes()).unwrap_err();
    assert!(error.to_string().contains(&length.to_string()), "{error}");
}

#[test]
fn the_longest_frame_is_read() {
    let data = vec![7; MAX_DATA];
    let mut bytes = Vec::new();
    Call::Send(Descriptor(1), &data).write(&mut bytes);
    let frames = split(&bytes).unwrap();
    assert_eq!(Call::read(&frames[0]).unwrap(), Call::Send(Descriptor(1), &data));
}

#[test]
fn what_is_not_a_call_or_an_answer_is_refused() {
    let refused: [&[u8]; 6] = [
        &[],
        &[10],
        &[0, 0],
        &[1, 0, 0, 0, 1, 2],
        &[2, 0, 0, 0, 1, 1, 2, 3, 4, 0, 1, 0, 0],
        &[5, 0, 0, 0, 1, 0],
    ];
    for frame in refused {
        assert!(Call::read(frame).is_err(), "{frame:?}");
    }
    for frame in [&[][..], &[6], &[0, 1, 2], &[1, 0, 0, 0], &[3, 0, 0, 0, 0, 0]] {
        assert!(Answer::read(frame).is_err(), "{frame:?}");
    }
}

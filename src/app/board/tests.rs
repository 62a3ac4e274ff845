//! Rows of boards of real adapters.

use super::*;
use crate::checkpoint::Checkpoint;

fn board(adapter: &str) -> Board {
    let base = Arc::new(Checkpoint::open_examined("samples/base-A-bf16/model").unwrap());
    Board::new(Held::open(base, &format!("samples/peft-bad-keys/{adapter}"), None).unwrap())
}

#[test]
fn what_does_not_fit_stands_first_and_the_cursor_passes_over_the_rule() {
    let mut board = board("extra-layer");
    let kinds: Vec<bool> = board.rows.iter().map(|row| *row == Row::Rule).collect();
    assert_eq!(kinds.iter().position(|is_rule| *is_rule), Some(4));
    assert!(board.rows[..3].iter().all(|row| matches!(row, Row::Odd(_))));
    for (by, cursor) in [(3, 3), (1, 5), (-1, 3), (isize::MAX, 7), (-isize::MAX, 0)] {
        board.step(by);
        assert_eq!(board.cursor, cursor, "by {by}");
    }
    assert!(board.next_odd(false));
    assert_eq!(board.cursor, 3);
}

#[test]
fn a_fold_opens_and_closes_and_states_choose_rows() {
    let mut board = board("good");
    assert_eq!(board.rows, [Row::Fold(0), Row::Fold(1), Row::Fold(2)]);
    board.enter();
    assert_eq!(board.rows[..3], [Row::Fold(0), Row::Fine(0), Row::Fine(3)]);
    board.enter();
    assert_eq!(board.rows.len(), 3);
    assert!(!board.next_odd(true));
    board.set_show(Show::Odd);
    assert_eq!(board.rows, []);
    board.step(1);
    assert!(board.back() && board.show == Show::All);
    assert!(!board.back());
}

#[test]
fn a_model_is_no_adapter_and_that_is_said() {
    let base = Arc::new(Checkpoint::open_examined("samples/base-A-bf16/model").unwrap());
    let error = Held::open(base, "samples/base-B-bf16/model", None).err().unwrap();
    assert!(error.message.contains("no adapter"), "{}", error.message);
}

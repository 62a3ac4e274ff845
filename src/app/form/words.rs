//! What the planner and the engine say of flags, as a form says it: of its fields.

/// What messages say of flags, and what it is in a form.
const WORDS: [(&str, &str); 19] = [
    ("--peft-version ", "PEFT "),
    ("; --force replaces checkpoints only", "; only a checkpoint is replaced, type another name"),
    ("; --force replaces a checkpoint", "; type another name, or say in exists what becomes of it"),
    ("; --force replaces it", "; replace in the form makes it anew"),
    ("; --skip-broken copies their tensors as they are", " (broken: copy takes their tensors as they are)"),
    ("--keep alpha makes", "keep alpha makes"),
    ("--keep scale leaves", "keep scale leaves"),
    ("align --repair --keep decides", "r on the board asks which"),
    ("; --alpha says it", ": say it in the field alpha"),
    ("--to same does not go with --dtype", "same does not go with dtype"),
    ("--to same does not go with --only and --skip", "same does not go with only and skip"),
    ("--to same does not go with --rounding", "same does not go with rounded"),
    (": --to dense", ": choose dense"),
    ("--combine ", "combine "),
    ("--only and --skip leave", "only and skip leave"),
    ("--only, --skip ", "only, skip: "),
    ("--names hf", "names: hf"),
    ("--resume continues", "starting it again resumes"),
    (
        "; --allow-partial leaves the others out, align --repair mends what can be mended",
        " (modules: those that fit leaves the others out, r on the board repairs what can be repaired)",
    ),
];

/// Returns a message of the plan or of a run as a form says it: of its fields, not of flags.
#[must_use]
pub fn in_form_words(message: &str) -> String {
    // The folder's flag stands first, and only there: a name may hold the same letters.
    let message = message.strip_prefix("-o ").unwrap_or(message);
    WORDS.iter().fold(message.to_owned(), |message, (flag, word)| message.replacen(flag, word, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_a_form_speaks_of_no_flags() {
        for (said, shown) in [
            (
                "-o ../x: is there already; --force replaces a checkpoint",
                "../x: is there already; type another name, or say in exists what becomes of it",
            ),
            (
                "-o x: it holds folders; --force replaces checkpoints only",
                "x: it holds folders; only a checkpoint is replaced, type another name",
            ),
            ("--only and --skip leave none of the 21 layers", "only and skip leave none of the 21 layers"),
            (
                "1 layer broken; --skip-broken copies their tensors as they are: a: b",
                "1 layer broken (broken: copy takes their tensors as they are): a: b",
            ),
            (
                "cancelled; 2 files done are kept aside, --resume continues",
                "cancelled; 2 files done are kept aside, starting it again resumes",
            ),
            ("a-o b: the disk is full", "a-o b: the disk is full"),
        ] {
            assert_eq!(in_form_words(said), shown);
        }
    }
}

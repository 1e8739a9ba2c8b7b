//! The kernels as this machine's build has them.

mod tester;

#[test]
fn kernels_agree_with_scalar() {
    for (name, check) in tester::CHECKS {
        if let Err(problem) = check() {
            panic!("{name}: {problem}");
        }
    }
}

//! Records go from the wrapper to the model and back.

use burn::module::Module;

use crate::setup::{Net, bits, config, loss, monitored, net};
use burn_sharpness::train::Monitored;

fn halved() -> Net {
    let half = |mut linear: burn::nn::Linear| {
        linear.weight = linear.weight.map(|weight| weight.mul_scalar(0.5));
        linear
    };
    let net = net();
    Net { hidden: half(net.hidden), output: half(net.output) }
}

#[test]
fn records_interchange_both_ways() {
    let monitor = config().init(loss).unwrap();
    let wrapped = Monitored::new(halved(), monitor, crate::setup::data());
    assert_ne!(bits(&net()), bits(&halved()));
    let bare = net().load_record(wrapped.into_record());
    assert_eq!(bits(&bare), bits(&halved()));
    let wrapped = monitored(&config()).load_record(halved().into_record());
    assert_eq!(bits(wrapped.inner()), bits(&halved()));
    assert_eq!(wrapped.num_params(), net().num_params());
    assert_eq!(wrapped.to_string(), wrapped.inner().to_string());
}

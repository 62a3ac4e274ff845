//! Tests over folders built here, with the files that the kernel has.

use super::*;
use crate::gauges::testing::Root;

#[test]
fn a_card_is_read_from_the_files_of_its_driver() {
    let root = Root::new(
        "amd-card",
        "sys/class/drm",
        &[
            // In the order of numbers, not of names; plugs and other makers' cards are none.
            ("card10/device/vendor", "0x1002\n"),
            ("card10/device/mem_info_vram_total", "68702699520\n"),
            ("card2/device/vendor", "0x1002\n"),
            ("card2/device/mem_info_vram_total", "25753026560\n"),
            ("card2/device/mem_info_vram_used", "1073741824\n"),
            ("card2/device/gpu_busy_percent", "37\n"),
            ("card2/device/product_name", "Radeon \u{1b}[31mPRO W7900\n"),
            ("card2/device/current_link_speed", "16.0 GT/s PCIe\n"),
            ("card2/device/current_link_width", "8\n"),
            ("card2/device/hwmon/hwmon5/temp1_input", "61000\n"),
            ("card2/device/hwmon/hwmon5/power1_average", "88500000\n"),
            ("card2/device/hwmon/hwmon5/freq1_input", "2124000000\n"),
            ("card2-DP-1/device/vendor", "0x1002\n"),
            ("card3/device/vendor", "0x10de\n"),
            ("card3/device/mem_info_vram_total", "1\n"),
        ],
    );
    let (state, gpus) = AmdSource::new(&root.0).read();
    assert_eq!(state, GpuState::new(GpuStateKind::Ready, ""));
    let [first, second] = gpus.as_slice() else { panic!("two cards, not {}", gpus.len()) };
    assert_eq!(first.name.as_deref(), Ok("Radeon \\x1b[31mPRO W7900"));
    assert_eq!(
        first.vram,
        Ok(Vram { used: 1_073_741_824, free: 25_753_026_560 - 1_073_741_824, total: 25_753_026_560 })
    );
    assert_eq!((&first.utilization_percent, &first.temperature_celsius), (&Ok(37), &Ok(61)));
    assert_eq!((&first.power_watts, &first.power_limit_watts), (&Ok(88.5), &Err(NOT_REPORTED)));
    assert_eq!(first.pcie_link, Ok(PcieLink { generation: 4, lanes: 8 }));
    assert_eq!((&first.processor_mhz, &first.memory_mhz), (&Ok(2124), &Err(NOT_REPORTED)));
    assert_eq!((second.index, second.name.as_deref()), (1, Ok("AMD")));
    assert_eq!(second.vram, Err(NOT_REPORTED), "without the use there is no memory to show");
}

#[test]
fn what_is_no_number_is_missing_and_nothing_else() {
    let root = Root::new(
        "amd-odd",
        "sys/class/drm",
        &[
            ("card0/device/vendor", "0x1002\n"),
            ("card0/device/mem_info_vram_total", "much\n"),
            ("card0/device/mem_info_vram_used", "1\n"),
            ("card0/device/gpu_busy_percent", "250\n"),
            ("card0/device/current_link_speed", "Unknown\n"),
            ("card0/device/current_link_width", "16\n"),
            ("card0/device/device", "0x744c\n"),
            ("card0/device/hwmon/hwmon0/temp1_input", "-5000\n"),
        ],
    );
    let (_, gpus) = AmdSource::new(&root.0).read();
    assert_eq!(gpus[0].vram, Err(NOT_REPORTED));
    assert_eq!(gpus[0].utilization_percent, Ok(100));
    assert_eq!(gpus[0].pcie_link, Err(NOT_REPORTED));
    assert_eq!(gpus[0].temperature_celsius, Err(NOT_REPORTED));
    assert_eq!(gpus[0].name.as_deref(), Ok("AMD 0x744c"));
    assert_eq!(gpus[0].processes, Err(Missing::because("not read from amdgpu")));
}

#[test]
fn a_machine_without_such_files_has_no_such_gpu() {
    let (state, gpus) = AmdSource::new(Path::new("/nonexistent")).read();
    assert_eq!((state.kind, gpus.len()), (GpuStateKind::Absent, 0));
}

"""Event files, read back with TensorBoard's own reader."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_events(folder):
    """Everything in the event files of a folder, nothing left out."""
    every = dict.fromkeys(("scalars", "images", "tensors", "histograms"), 0)
    events = EventAccumulator(str(folder), size_guidance=every)
    events.Reload()
    return events


def points(events, tag):
    return [(point.step, point.value) for point in events.Scalars(tag)]


def text(events, tag):
    (event,) = events.Tensors(f"{tag}/text_summary")
    return event.step, event.tensor_proto.string_val[0].decode()

"""`status.modelRevision`: the commit that the engine which serves has loaded, written once."""

from __future__ import annotations

from typing import Any

from tests.unit.decide.world import World, oom, running

COMMIT, LATER = "a" * 40, "b" * 40


def revision(world: World) -> Any:
    return world.llmd["status"].get("modelRevision")


def told() -> World:
    world = running()
    assert revision(world) is None
    world.tell(model_revision=COMMIT)
    assert world.settle() == ["status"]
    return world


def serve_and_tell(world: World, commit: str) -> None:
    """The new pods come up, and their supervisors name the commit."""
    world.roll()
    world.serve()
    world.settle()
    world.tell(model_revision=commit)
    world.settle()


def test_what_was_loaded_is_written_in_the_same_write_as_what_was_measured() -> None:
    world = told()
    assert revision(world) == COMMIT
    assert "measured" in world.llmd["status"]
    assert world.settle() == []


def test_an_operator_that_comes_anew_writes_nothing_before_and_after_it_asked() -> None:
    world = told()
    world.runtime.clear()
    assert world.settle() == []
    world.tell(model_revision=COMMIT)
    assert world.settle() == []
    assert revision(world) == COMMIT


def test_an_engine_that_does_not_know_says_nothing() -> None:
    world = running()
    world.tell(model_revision="")
    world.settle()
    assert revision(world) is None


def test_a_pod_that_loaded_a_later_commit_of_the_branch_says_so() -> None:
    world = told()
    world.pods[0]["status"]["containerStatuses"][0]["restartCount"] = 1
    assert world.settle() == []  # not asked yet: what is stored stays
    world.tell(model_revision=LATER)
    assert world.settle() == ["status"]
    assert revision(world) == LATER


def test_the_oldest_pod_speaks_for_all() -> None:
    world = running(replicas=2)
    world.tell(model_revision=COMMIT)
    world.settle()
    world.tell(model_revision=LATER)
    world.runtime[world.pods[0]["metadata"]["uid"]] = world.runtime[
        world.pods[1]["metadata"]["uid"]
    ]
    world.settle()
    assert revision(world) == LATER
    del world.runtime[world.pods[0]["metadata"]["uid"]]
    assert world.settle() == []


def test_another_revision_begins_without_a_commit() -> None:
    world = told()
    world.edit(model={"id": "Qwen/Qwen2-7B-Instruct", "revision": "v2"})
    world.settle()
    assert revision(world) is None
    serve_and_tell(world, LATER)
    assert revision(world) == LATER


def test_a_model_that_no_plan_exists_for_has_no_commit_though_the_old_one_runs() -> None:
    world = told()
    world.edit(model={"id": "nobody/knows-this"})
    world.settle()
    assert world.condition("Stalled") == ("True", "UnknownModel")
    assert "plan" in world.llmd["status"]
    assert revision(world) is None
    assert world.settle() == []


def test_an_infeasible_wish_for_the_same_model_keeps_the_commit_that_runs() -> None:
    world = told()
    world.edit(serving={"contextLength": 32768, "concurrency": 4096, "minConcurrency": 4096})
    world.settle()
    assert world.condition("Planned") == ("False", "Infeasible")
    assert revision(world) == COMMIT


def test_a_step_of_healing_asks_the_new_pods() -> None:
    world = told()
    for _ in range(2):  # after Ready one failure is not enough
        world.fail(oom(world.plan_hash(), was_ready=True))
        world.settle()
    assert world.attempt() == 1
    assert revision(world) is None
    serve_and_tell(world, COMMIT)
    assert revision(world) == COMMIT


def test_files_from_elsewhere_have_no_commit() -> None:
    world = told()
    source = {"persistentVolumeClaim": {"claimName": "models"}}
    world.edit(model={"id": "Qwen/Qwen2-7B-Instruct", "source": source})
    world.settle()
    world.roll()
    world.serve()
    world.settle()
    world.tell(model_revision="")
    world.settle()
    assert revision(world) is None
    assert world.settle() == []


def test_suspension_keeps_it() -> None:
    world = told()
    world.edit(suspend=True)
    world.settle()
    assert revision(world) == COMMIT

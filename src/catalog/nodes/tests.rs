use super::*;
use crate::catalog::testing::Store;
use crate::testing::TestResult;
use engine::LineageId;
use replication::ClusterId;

fn own() -> Identity {
    Identity {
        cluster: ClusterId([1; 16]),
        lineage: LineageId([2; 16]),
        epoch: 0,
        node: NodeId(1),
        groups: 1,
        address: "10.0.0.1:4513".to_owned(),
        region: "eu".to_owned(),
    }
}

/// A catalog with node 1 in it.
fn begun() -> Result<Store> {
    let store = Store::new()?;
    let change = store.decide(|view| begin(view, &own(), 5))?;
    change.map(|change| store.commit(change)).transpose().map_err(CatalogError::Conflict)?;
    Ok(store)
}

fn asks(address: &str, attempt: u8) -> Admission {
    Admission { address: address.to_owned(), region: "eu".to_owned(), votes: true, attempt: [attempt; 16] }
}

fn admitted(store: &Store, asks: &Admission) -> Result<NodeId> {
    let (id, change) = store.decide(|view| admit(view, asks, 7))?;
    change.map(|change| store.commit(change)).transpose().map_err(CatalogError::Conflict)?;
    Ok(id)
}

fn ids(store: &Store) -> Result<Vec<u64>> {
    Ok(store.decide(|view| view.nodes())?.into_iter().map(|(id, _)| id.0).collect())
}

#[test]
fn a_cluster_begins_with_its_first_node_once() -> TestResult {
    let store = begun()?;
    assert_eq!(ids(&store)?, [1]);
    assert_eq!(store.decide(|view| begin(view, &own(), 9))?, None);
    Ok(())
}

#[test]
fn nobody_joins_before_the_first_node_is_written_down() -> TestResult {
    let store = Store::new()?;
    let refused = admitted(&store, &asks("10.0.0.2:4513", 2));
    assert!(matches!(refused, Err(CatalogError::Conflict(_))), "{refused:?}");
    Ok(())
}

#[test]
fn ids_rise_and_the_id_of_a_node_that_left_is_not_given_again() -> TestResult {
    let store = begun()?;
    assert_eq!(admitted(&store, &asks("10.0.0.2:4513", 2))?, NodeId(2));
    store.commit(store.decide(|view| forget_node(view, NodeId(2)))?)?;
    assert_eq!(admitted(&store, &asks("10.0.0.2:4513", 3))?, NodeId(3));
    assert_eq!(ids(&store)?, [1, 3]);
    Ok(())
}

#[test]
fn an_attempt_that_asks_again_gets_the_same_id_and_another_one_is_refused() -> TestResult {
    let store = begun()?;
    assert_eq!(admitted(&store, &asks("10.0.0.2:4513", 2))?, NodeId(2));
    assert_eq!(admitted(&store, &asks("10.0.0.2:4513", 2))?, NodeId(2));
    for (address, attempt) in [("10.0.0.2:4513", 3), ("10.0.0.1:4513", 2)] {
        let refused = admitted(&store, &asks(address, attempt)).err().map(|error| error.to_string());
        let refused = refused.unwrap_or_default();
        assert!(refused.contains(address) && refused.contains("cairn cluster remove"), "{refused}");
    }
    assert_eq!(ids(&store)?, [1, 2]);
    Ok(())
}

#[test]
fn two_decisions_on_the_same_view_are_not_both_taken() -> TestResult {
    let store = begun()?;
    let decide = |asks: Admission| store.decide(|view| admit(view, &asks, 7)).map(|(_, change)| change);
    let (one, other) = (decide(asks("10.0.0.2:4513", 2))?, decide(asks("10.0.0.3:4513", 3))?);
    let (one, other) = (one.ok_or("no change")?, other.ok_or("no change")?);
    store.commit(one)?;
    assert!(store.commit(other).is_err_and(|outcome| outcome.contains("ChecksFailed")));
    Ok(())
}

#[test]
fn an_announced_node_gets_its_id_when_it_joins_from_there() -> TestResult {
    let store = begun()?;
    let (id, change) = store.decide(|view| expect(view, "10.0.0.2:4513", "us", 7))?;
    store.commit(change)?;
    let again = store.decide(|view| expect(view, "10.0.0.2:4513", "us", 7));
    assert!(matches!(again, Err(CatalogError::Conflict(_))), "{again:?}");
    let asks = Admission { region: String::new(), ..asks("10.0.0.2:4513", 9) };
    assert_eq!(admitted(&store, &asks)?, id);
    let row = store.decide(|view| view.node(id))?.ok_or("no row")?.row;
    assert_eq!((row.intent, row.region.as_str(), row.attempt), (Intent::Voter, "us", [9; 16]));
    assert_eq!(admitted(&store, &asks)?, id);
    Ok(())
}

#[test]
fn a_place_that_cannot_be_is_refused() -> TestResult {
    let store = begun()?;
    for (address, region) in [("nowhere", "eu"), ("0.0.0.0:1", "eu"), ("", "eu"), ("10.0.0.2:1", "e u")] {
        let asks = Admission { region: region.to_owned(), ..asks(address, 2) };
        let refused = admitted(&store, &asks);
        assert!(matches!(refused, Err(CatalogError::Invalid(_))), "{address} {region}: {refused:?}");
        let refused = store.decide(|view| expect(view, address, region, 7));
        assert!(matches!(refused, Err(CatalogError::Invalid(_))), "{address} {region}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_new_lineage_begins_with_its_survivor_alone_and_gives_no_old_id() -> TestResult {
    let store = begun()?;
    for n in 2..=4 {
        admitted(&store, &asks(&format!("10.0.0.{n}:4513"), n))?;
    }
    let survivor = Identity {
        lineage: LineageId([3; 16]),
        epoch: 1,
        node: NodeId(3),
        address: "10.0.0.3:4513".to_owned(),
        ..own()
    };
    let change = store.decide(|view| begin(view, &survivor, 9))?.ok_or("no change")?;
    store.commit(change)?;
    assert_eq!(ids(&store)?, [3]);
    assert_eq!(admitted(&store, &asks("10.0.0.1:4513", 9))?, NodeId(5));
    let there = store.decide(|view| view.node_at("10.0.0.3:4513"))?.map(|found| found.row);
    assert_eq!(there, Some(3), "the survivor's address is known still");
    Ok(())
}

#[test]
fn a_node_that_moved_says_so_and_takes_nobodys_address() -> TestResult {
    let store = begun()?;
    admitted(&store, &asks("10.0.0.2:4513", 2))?;
    assert_eq!(store.decide(|view| announce(view, &own()))?, None);
    let taken = Identity { address: "10.0.0.2:4513".to_owned(), ..own() };
    let refused = store.decide(|view| announce(view, &taken));
    assert!(matches!(refused, Err(CatalogError::Conflict(_))), "{refused:?}");
    for address in ["10.0.0.7:4513", "", "10.0.0.8:4513"] {
        let moved = Identity { address: address.to_owned(), region: "us".to_owned(), ..own() };
        store.commit(store.decide(|view| announce(view, &moved))?.ok_or("no change")?)?;
        let row = store.decide(|view| view.node(NodeId(1)))?.ok_or("no row")?.row;
        assert_eq!((row.address.as_str(), row.region.as_str()), (address, "us"));
    }
    assert_eq!(store.decide(|view| view.node_at("10.0.0.1:4513"))?, None, "the old address is free");
    assert_eq!(store.decide(|view| view.node_at("10.0.0.7:4513"))?, None);
    assert!(store.decide(|view| view.node_at("10.0.0.8:4513"))?.is_some());
    Ok(())
}

#[test]
fn what_leaves_does_not_come_back_and_what_never_joined_is_forgotten_at_once() -> TestResult {
    let store = begun()?;
    admitted(&store, &asks("10.0.0.2:4513", 2))?;
    let change = store.decide(|view| leave(view, NodeId(2)))?.ok_or("no change")?;
    store.commit(change)?;
    assert_eq!(store.decide(|view| leave(view, NodeId(2)))?, None);
    let promoted = store.decide(|view| set_intent(view, NodeId(2), Intent::Voter));
    assert!(matches!(promoted, Err(CatalogError::Conflict(_))), "{promoted:?}");
    let (id, change) = store.decide(|view| expect(view, "10.0.0.9:4513", "", 7))?;
    store.commit(change)?;
    let promoted = store.decide(|view| set_intent(view, id, Intent::Voter));
    assert!(matches!(promoted, Err(CatalogError::Conflict(_))), "{promoted:?}");
    store.commit(store.decide(|view| leave(view, id))?.ok_or("no change")?)?;
    assert_eq!(ids(&store)?, [1, 2]);
    let missing = store.decide(|view| leave(view, NodeId(9)));
    assert!(matches!(missing, Err(CatalogError::NotFound(_))), "{missing:?}");
    Ok(())
}

#[test]
fn leaders_are_kept_where_a_node_stands() -> TestResult {
    let store = begun()?;
    let missing = store.decide(|view| set_primary_region(view, Some("us")));
    assert!(matches!(missing, Err(CatalogError::NotFound(_))), "{missing:?}");
    store.commit(store.decide(|view| set_primary_region(view, Some("eu")))?.ok_or("no change")?)?;
    assert_eq!(store.decide(|view| set_primary_region(view, Some("eu")))?, None);
    let region = |store: &Store| store.decide(|view| view.primary_region());
    assert_eq!(region(&store)?.map(|found| found.row).as_deref(), Some("eu"));
    store.commit(store.decide(|view| set_primary_region(view, None))?.ok_or("no change")?)?;
    assert_eq!(region(&store)?, None);
    Ok(())
}
